//! Manifests from a hub and from bare addresses, against small servers of the test's own.

#[expect(dead_code, reason = "each test program uses a part of it")]
mod server;

use server::{Answer, Server};
use std::ops::ControlFlow;
use std::time::Duration;
use tenon_pull::{ErrorKind, Network, Result, hub, manifest_of_url};
use tenon_store::{Digest, Environment, Manifest};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn network() -> Network {
    let mut environment = Environment::of_this_process();
    environment.variables.clear();
    Network::of(&environment).unwrap().back_off(Duration::from_millis(1)).tries(2).stall(Duration::from_secs(5))
}

fn digest(of: &str) -> Digest {
    Digest::of(of.as_bytes())
}

/// A repository of one whole model and one in two shards.
fn list(sha: &str) -> String {
    let file = |name: &str, size: u32| {
        format!(
            r#"{{"rfilename":"{name}","size":{size},"lfs":{{"sha256":"{}","size":{size},"pointerSize":1}}}}"#,
            digest(name)
        )
    };
    format!(
        r#"{{"id":"Org/Repo","sha":"{sha}","pipeline_tag":"text-generation","tags":["gguf"],"gated":false,
            "cardData":{{"license":"apache-2.0","language":["en","de","code"]}},"gguf":{{"total":1234,"architecture":"qwen3"}},
            "siblings":[{{"rfilename":"README.md","size":5}},{},{},{}]}}"#,
        file("Model-Q4_K_M.gguf", 400),
        file("big/Model-Q8_0-00001-of-00002.gguf", 500),
        file("big/Model-Q8_0-00002-of-00002.gguf", 300),
    )
}

/// A hub as the real one: it lists, and sends on for each file, telling of it.
fn answer(request: &str) -> Answer {
    let path = request.split(' ').nth(1).unwrap_or_default();
    if path.starts_with("/api/models/org/repo/revision/main?blobs=true") {
        return Answer::whole(list(COMMIT).as_bytes());
    }
    let Some(file) = path.strip_prefix(&format!("/org/repo/resolve/{COMMIT}/")) else { return Answer::status(404) };
    let names = ["Model-Q4_K_M.gguf", "big/Model-Q8_0-00001-of-00002.gguf", "big/Model-Q8_0-00002-of-00002.gguf"];
    let Some(at) = names.iter().position(|name| name.to_lowercase() == file) else { return Answer::status(404) };
    Answer::status(302)
        .header("Location", "https://cdn.invalid/blob")
        .header("X-Repo-Commit", COMMIT)
        .header("X-Linked-ETag", &format!("\"{}\"", digest(names[at])))
        .header("X-Linked-Size", ["400", "500", "300"][at])
}

fn resolve(hub: &Server, spec: &str) -> Result<Manifest> {
    let network = network().endpoint(&hub.url("")).unwrap().token(Some("hf_secret")).unwrap();
    hub::resolve(&network, spec, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_repository_becomes_a_manifest_with_the_commit_in_its_addresses() {
    let hub = Server::start(|request, _| answer(request));
    let manifest = resolve(&hub, "hf:Org/Repo").unwrap();
    assert_eq!((manifest.name.as_str(), manifest.backend.as_str()), ("model-q4_k_m", "llama"));
    assert_eq!((manifest.task.as_str(), manifest.license.as_str()), ("chat", "Apache-2.0"));
    assert_eq!(
        (manifest.parameters, manifest.languages.as_slice()),
        (Some(1234), &["de".to_owned(), "en".to_owned()][..])
    );
    let file = &manifest.files[0];
    assert_eq!(file.urls, [format!("https://huggingface.co/Org/Repo/resolve/{COMMIT}/Model-Q4_K_M.gguf")]);
    assert_eq!((file.sha256, file.size), (digest("Model-Q4_K_M.gguf"), 400));
    let again = Manifest::parse(&manifest.to_toml(), "model-q4_k_m.toml".as_ref()).unwrap();
    assert_eq!(again, manifest);
    assert!(hub.requests().iter().all(|request| request.contains("authorization: bearer hf_secret")));
}

#[test]
fn shards_become_the_files_of_one_manifest_in_their_order() {
    let hub = Server::start(|request, _| answer(request));
    let manifest = resolve(&hub, "hf:Org/Repo@main:q8_0").unwrap();
    assert_eq!(manifest.name, "model-q8_0");
    let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["Model-Q8_0-00001-of-00002.gguf", "Model-Q8_0-00002-of-00002.gguf"]);
    assert!(manifest.files.iter().all(|file| file.role == "model"));
}

#[test]
fn weights_that_are_not_there_are_said_with_those_that_are() {
    let hub = Server::start(|request, _| answer(request));
    let error = resolve(&hub, "hf:Org/Repo:Q2_K").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound));
    let message = error.to_string();
    assert!(message.contains("Model-Q4_K_M.gguf, Model-Q8_0-00001-of-00002.gguf"), "{message}");
}

#[test]
fn a_repository_that_is_not_there_is_not_found() {
    let hub = Server::start(|request, _| answer(request));
    let error = resolve(&hub, "hf:Org/Other").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound), "{error}");
    assert!(error.to_string().starts_with("cannot look up hf:Org/Other: "), "{error}");
}

#[test]
fn nonsense_from_a_hub_is_said() {
    for (list, part) in [
        ("{}".to_owned(), "which is none"),
        ("not json".to_owned(), "makes no sense"),
        (list("xyz"), "which is none"),
        (format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"../x.gguf"}}]}}"#), "no file that a backend reads"),
        (
            format!(
                r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"con.gguf","lfs":{{"sha256":"{}","size":1}}}}]}}"#,
                digest("x")
            ),
            "device",
        ),
    ] {
        let hub = Server::start(move |request, _| match request.contains("/api/") {
            true => Answer::whole(list.as_bytes()),
            false => Answer::status(200),
        });
        let error = resolve(&hub, "hf:Org/Repo").unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_hub_that_is_busy_is_asked_again_and_one_that_is_silent_can_be_left() {
    let hub = Server::start(|request, at| if at == 0 { Answer::status(503) } else { answer(request) });
    assert!(resolve(&hub, "hf:Org/Repo").is_ok());
    let silent = Server::start(|_, _| Answer::silence());
    let network = network().endpoint(&silent.url("")).unwrap().stall(Duration::from_secs(1000));
    let mut told = 0;
    let left = hub::resolve(&network, "hf:Org/Repo", &mut |_| {
        told += 1;
        if told == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(left.unwrap_err().kind(), ErrorKind::Cancelled));
}

#[test]
fn offline_asks_no_hub() {
    let hub = Server::start(|request, _| answer(request));
    let network = network().endpoint(&hub.url("")).unwrap().offline(true);
    let error = hub::resolve(&network, "hf:Org/Repo", &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("offline"), "{error}");
    assert_eq!(hub.connections(), 0);
}

fn of_url(url: &str, name: Option<&str>) -> Result<Manifest> {
    manifest_of_url(&network(), url, digest("x"), name, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn an_address_and_a_digest_become_a_manifest() {
    for knows_head in [true, false] {
        let server = Server::start(move |request, _| match request.starts_with("head ") && !knows_head {
            true => Answer::status(405),
            false => Answer::file(&[0; 777], request),
        });
        let url = server.url("/some/dir/My%20Model-Q4_0.gguf?download=true");
        let manifest = of_url(&url, None).unwrap();
        assert_eq!((manifest.name.as_str(), manifest.license.as_str()), ("my-model-q4_0", "unknown"));
        let file = &manifest.files[0];
        assert_eq!((file.name.as_str(), file.size, file.sha256), ("My Model-Q4_0.gguf", 777, digest("x")));
        assert_eq!(file.urls, [url]);
    }
}

#[test]
fn an_address_may_bring_the_name_of_its_model() {
    let server = Server::files(vec![0; 5]);
    let manifest = of_url(&server.url("/ggml-small.bin"), Some("mine")).unwrap();
    assert_eq!(
        (manifest.name.as_str(), manifest.backend.as_str(), manifest.task.as_str()),
        ("mine", "whisper", "transcribe")
    );
    assert!(of_url(&server.url("/ggml-small.bin"), Some("../x")).is_err());
}

#[test]
fn addresses_that_no_backend_can_use_are_refused() {
    let server = Server::files(vec![0; 5]);
    for path in ["/model.safetensors", "/", "/..%2fx.gguf", "/nul.gguf"] {
        let error = of_url(&server.url(path), None).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidArgument), "{path}: {error}");
    }
    assert!(matches!(of_url("http://models.example/x.gguf", None).unwrap_err().kind(), ErrorKind::InvalidArgument));
}
