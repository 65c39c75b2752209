//! One try at pulling, with patience for tests: what came of it and what was reported on the way.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::time::Duration;
use tenon_pull::{Error, Event, Network, Pulled, Puller};
use tenon_pull_tests::Home;
use tenon_store::{Environment, Manifest, Os};

/// Nothing of the environment of the tests counts.
pub fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
    Environment {
        os: Os::here(),
        variables: variables.collect::<BTreeMap<_, _>>(),
        executable: None,
        library: None,
        is_folder: |_| false,
    }
}

/// Three tries, hardly a pause between them, and little patience with servers that stall.
pub fn network() -> Network {
    network_in(&[])
}

/// The same in an environment of these variables.
pub fn network_in(variables: &[(&str, &str)]) -> Network {
    let network = Network::of(&environment(variables)).expect("settings that are usable");
    network.stall(Duration::from_millis(400)).tries(3).back_off(Duration::from_millis(1))
}

/// What came of a try.
pub struct Try {
    pub outcome: Result<Vec<Pulled>, Error>,
    pub events: Vec<Event>,
}

impl Try {
    /// What was pulled; panics where nothing was.
    pub fn pulled(&self, case: &str) -> &[Pulled] {
        self.outcome.as_ref().unwrap_or_else(|error| panic!("{case}: {error}\n{:#?}", self.events))
    }

    /// The error; panics where there is none. It is one clear sentence in the house's form.
    pub fn error(&self, case: &str) -> &Error {
        let error = match &self.outcome {
            Ok(pulled) => panic!("{case}: pulled {pulled:?}"),
            Err(error) => error,
        };
        assert_is_a_sentence(case, &error.to_string());
        error
    }
}

/// One line, no full stop, no capital, nothing that only a programmer reads.
pub fn assert_is_a_sentence(case: &str, text: &str) {
    assert!(!text.is_empty() && !text.contains(['\n', '\r']), "{case}: {text:?}");
    assert!(!text.ends_with('.') && !text.contains("failed to"), "{case}: {text:?}");
    assert!(!text.starts_with(|first: char| first.is_uppercase()), "{case}: {text:?}");
    for word in ["Some(", "Err(", "Error {", "Custom", "os_error", "kind:"] {
        assert!(!text.contains(word), "{case}: {text:?}");
    }
}

/// Pulls a manifest into a home.
pub fn pull(home: &Home, network: &Network, manifest: &Manifest) -> Try {
    pull_until(home, network, manifest, |_| false)
}

/// The same, stopped at the first event that is the last one wanted.
pub fn pull_until(home: &Home, network: &Network, manifest: &Manifest, is_last: impl Fn(&Event) -> bool) -> Try {
    let mut events = Vec::new();
    let outcome = Puller::new(&home.store(), network).pull(manifest, &mut |event| {
        events.push(event.clone());
        if is_last(event) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    home.assert_sound(&manifest.name);
    Try { outcome, events }
}
