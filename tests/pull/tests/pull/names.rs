//! Names that somebody else chose: of files in manifests and on hubs, and what servers call things.

use crate::support::{network_in, pull};
use std::ops::ControlFlow;
use std::path::Path;
use tenon_pull::{Error, ErrorKind, Network, hub, manifest_of_url};
use tenon_pull_tests::hub::Repository;
use tenon_pull_tests::{Answer, Home, Server, noise};
use tenon_store::{Digest, Manifest};

fn resolve(network: &Network, spec: &str) -> Result<Manifest, Error> {
    hub::resolve(network, spec, &mut |_| ControlFlow::Continue(()))
}

/// Names of files that lead somewhere, or that are something else on some system.
const NAMES: &[&str] = &[
    "..",
    ".",
    "../evil.gguf",
    "a/../../evil.gguf",
    "/etc/evil.gguf",
    "..\\evil.gguf",
    "C:evil.gguf",
    "%2e%2e%2fevil.gguf",
    "evil\0.gguf",
    "evil\n.gguf",
    "con.gguf",
    "NUL",
    "aux.gguf",
    "LPT1.gguf",
    "evil.gguf.",
    "evil.gguf ",
    "evil.gguf:stream",
    "\u{202e}fugg.live",
    "",
];

#[test]
fn a_repository_becomes_a_manifest_with_size_digest_and_pinned_commit_and_can_be_pulled() {
    let (hub, cdn, home, bytes) = (Server::start(), Server::start(), Home::new(), gguf());
    let files = vec![("tiny-Q4_K_M.gguf", bytes.clone()), ("tiny-Q8_0.gguf", noise(1, 500)), ("README.md", vec![1])];
    let repository = Repository::new("org/tiny-GGUF", files);
    repository.serve(&hub, &cdn);
    let network = network_in(&[("HF_ENDPOINT", &hub.origin())]);
    let network = network.tries(1);
    let manifest = resolve(&network, "hf:org/tiny-GGUF:Q4_K_M").unwrap();
    let file = &manifest.files[0];
    assert_eq!((file.sha256, file.size), (Digest::of(&bytes), bytes.len() as u64));
    assert!(file.urls[0].contains(&repository.commit) && file.urls[0].starts_with("https://huggingface.co/"));
    assert_eq!(Manifest::parse(&manifest.to_toml(), Path::new(&format!("{}.toml", manifest.name))).unwrap(), manifest);
    pull(&home, &network, &manifest).pulled("from the hub");
    assert!(home.holds(&bytes));
}

/// What begins like a GGUF file.
fn gguf() -> Vec<u8> {
    [b"GGUF".to_vec(), 3_u32.to_le_bytes().to_vec(), noise(71, 5000)].concat()
}

#[test]
fn names_from_a_hub_that_lead_out_are_refused() {
    for name in NAMES {
        let (hub, cdn) = (Server::start(), Server::start());
        let repository = Repository::new("org/evil", vec![(name, gguf())]);
        repository.serve(&hub, &cdn);
        let network = network_in(&[("HF_ENDPOINT", &hub.origin())]).tries(1);
        if let Ok(manifest) = resolve(&network, "hf:org/evil") {
            panic!("{name:?} became {:?}", manifest.files);
        }
    }
}

#[test]
fn specs_that_name_no_repository_are_refused_without_asking_anybody() {
    let hub = Server::start();
    let network = network_in(&[("HF_ENDPOINT", &hub.origin())]);
    for spec in [
        "hf:",
        "hf:org",
        "hf:org/",
        "hf:/repo",
        "hf:../repo",
        "hf:org/..",
        "hf:org/repo/more",
        "hf:org/re po",
        "hf:org/repo@",
        "hf:org/repo@../x",
        "hf:org/repo:../x.gguf",
        "hf:org/repo:",
        "hf:org/%2e%2e",
        "hf:org/re\0po",
        "hf:org/repo:a\nb",
        "hf:org/repo?x",
        "hf:org/repo#x",
    ] {
        let error = resolve(&network, spec).expect_err(spec);
        assert!(matches!(error.kind(), ErrorKind::InvalidArgument), "{spec}: {error:?}");
        crate::support::assert_is_a_sentence(spec, &error.to_string());
    }
    assert_eq!(hub.log().connections(), 0);
}

#[test]
fn addresses_whose_last_part_is_no_name_become_no_path() {
    let (server, bytes) = (Server::start(), gguf());
    let network = network_in(&[]).tries(1);
    for path in ["/..%2f..%2fevil.gguf", "/%2e%2e", "/evil%00.gguf", "/con.gguf", "/a%5cevil.gguf", "/", "/x%0ay.gguf"]
    {
        let url = server.blob(path, &bytes);
        let resolved = manifest_of_url(&network, &url, Digest::of(&bytes), None, &mut |_| ControlFlow::Continue(()));
        if let Ok(manifest) = resolved {
            let name = &manifest.files[0].name;
            assert!(!name.contains(['/', '\\', '\0', '\n', '%']) && !name.contains(".."), "{path}: {name}");
            let text = manifest.to_toml();
            Manifest::parse(&text, Path::new(&format!("{}.toml", manifest.name))).unwrap_or_else(|e| panic!("{e:?}"));
        }
    }
}

#[test]
fn what_a_server_calls_the_file_is_not_asked() {
    let (server, home, bytes) = (Server::start(), Home::new(), noise(72, 1000));
    let url = server.blob("/blob.bin", &bytes);
    let name = "attachment; filename=\"../../../evil\"; filename*=UTF-8''..%2F..%2Fevil";
    server.always("/blob.bin", Answer::good().header("Content-Disposition", name));
    pull(&home, &network_in(&[]), &tenon_pull_tests::manifest("case", &[("blob.bin", &[url], &bytes)])).pulled("named");
    let everything: Vec<_> =
        walk(home.path()).into_iter().filter(|path| path.to_string_lossy().contains("evil")).collect();
    assert!(everything.is_empty(), "{everything:?}");
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_hub_that_lies_about_size_digest_or_shape_is_found_out() {
    let bytes = gguf();
    let digest = Digest::of(&bytes).to_string();
    let size = bytes.len();
    let lies = [
        ("no digest", r#"{"sha":"C","siblings":[{"rfilename":"a.gguf","size":5}]}"#.to_owned()),
        (
            "no commit",
            format!(r#"{{"siblings":[{{"rfilename":"a.gguf","lfs":{{"sha256":"{digest}","size":{size}}}}}]}}"#),
        ),
        ("a commit that is a path", r#"{"sha":"../../x","siblings":[]}"#.to_owned()),
        ("no files", r#"{"sha":"C","siblings":[]}"#.to_owned()),
        ("no JSON", "<html>".to_owned()),
        ("deep JSON", "[".repeat(200_000)),
        (
            "a digest of another length",
            r#"{"sha":"C","siblings":[{"rfilename":"a.gguf","lfs":{"sha256":"00","size":5}}]}"#.to_owned(),
        ),
    ];
    for (case, text) in lies {
        let hub = Server::start();
        let text = text.replace("\"C\"", "\"5359861c739e955e79d9a303bcbc70fb988958b1\"");
        let answer = Answer::good().body(text.into_bytes()).header("Content-Type", "application/json");
        hub.always("/api/models/org/liar/revision/main", answer.clone());
        hub.always("/api/models/org/liar", answer);
        let error = resolve(&network_in(&[("HF_ENDPOINT", &hub.origin())]).tries(1), "hf:org/liar").expect_err(case);
        crate::support::assert_is_a_sentence(case, &error.to_string());
    }
}

#[test]
fn a_private_repository_is_asked_with_the_token_and_says_so_without() {
    let (hub, cdn, bytes) = (Server::start(), Server::start(), gguf());
    let mut repository = Repository::new("org/private", vec![("a-Q4_0.gguf", bytes.clone())]);
    repository.token = Some("hf_secret".to_owned());
    repository.serve(&hub, &cdn);
    let origin = hub.origin();
    let error = resolve(&network_in(&[("HF_ENDPOINT", &origin)]), "hf:org/private").expect_err("private");
    assert!(error.to_string().contains("HF_TOKEN"), "{error}");
    let network = network_in(&[("HF_ENDPOINT", &origin), ("HF_TOKEN", "hf_secret")]);
    let (manifest, home) = (resolve(&network, "hf:org/private").unwrap(), Home::new());
    pull(&home, &network, &manifest).pulled("private");
    assert!(home.holds(&bytes));
    assert!(!format!("{:?}", cdn.log().requests()).contains("hf_secret"));
}
