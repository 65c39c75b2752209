use crate::support::*;
use std::fs;
use std::path::Path;
use tenon_store::{Catalog, Collect, ErrorKind, Import, Imported, Manifest, Placing};

/// The start of a whisper model with 51,864 tokens.
const WHISPER: &[u8] = b"lmgg\x98\xca\x00\x00 and so on";

fn asked(placing: Placing) -> Import {
    Import { placing, ..Import::default() }
}

fn described(placing: Placing) -> Import {
    Import { task: Some("chat".to_owned()), license: Some("MIT".to_owned()), ..asked(placing) }
}

impl Home {
    fn catalog(&self) -> Catalog {
        let mut locations = self.locations();
        locations.manifests = vec![self.root.join("manifests")];
        Catalog::read(&locations.manifest_folders())
    }

    fn import(&self, path: &Path, asked: &Import) -> tenon_store::Result<Imported> {
        self.store().import(path, &self.catalog(), asked, &mut go_on)
    }

    fn publish(&self, manifest: &Manifest) {
        self.write(&format!("manifests/{}.toml", manifest.name), manifest.to_toml().as_bytes());
    }
}

#[test]
fn a_file_that_the_catalogue_knows_by_its_digest_is_that_model_whatever_it_is_called() {
    let home = Home::new();
    home.publish(&model("a", &["one", "two"]));
    home.publish(&model("b", &["three"]));
    let path = home.write("downloads/My Model (1).bin", b"one");
    let imported = home.import(&path, &asked(Placing::Copy)).unwrap();
    assert_eq!((imported.manifest.name.as_str(), imported.known), ("a", true));
    assert_eq!(imported.missing, ["two.bin"]);
    assert_eq!(imported.files[0].place, home.blob(b"one"));
    assert_eq!(home.names("models"), ["a.toml"]);
    let imported = home.import(&home.write("two", b"two"), &asked(Placing::Copy)).unwrap();
    assert!(imported.missing.is_empty());
    assert_eq!(verify(&home.store(), &model("a", &["one", "two"])).unwrap().len(), 2);
    assert!(home.store().collect(&Collect::default()).unwrap().removed.is_empty());
}

#[test]
fn a_file_of_several_models_belongs_to_the_one_that_cannot_do_without_it_or_to_the_one_that_is_named() {
    let home = Home::new();
    let mut speech = model("speech", &["speech", "vad"]);
    speech.files[1].optional = true;
    home.publish(&speech);
    let path = home.write("vad.bin", b"vad");
    assert_eq!(home.import(&path, &asked(Placing::Copy)).unwrap().manifest.name, "speech");
    home.store().remove(&["speech"]).unwrap();
    home.publish(&model("vad", &["vad"]));
    assert_eq!(home.import(&path, &asked(Placing::Copy)).unwrap().manifest.name, "vad");
    home.publish(&model("vad-too", &["vad"]));
    let error = home.import(&path, &asked(Placing::Copy)).unwrap_err();
    assert!(error.to_string().ends_with("say which with --name: vad, vad-too"), "{error}");
    let named = Import { name: Some("vad-too".to_owned()), ..asked(Placing::Copy) };
    assert_eq!(home.import(&path, &named).unwrap().manifest.name, "vad-too");
}

#[test]
fn an_unknown_file_becomes_a_model_of_what_its_bytes_and_the_caller_say() {
    let home = Home::new();
    let gguf = home.write("Qwen3 0.6B (Q8_0).gguf", b"GGUF and so on");
    let imported = home.import(&gguf, &described(Placing::Copy)).unwrap();
    let manifest = &imported.manifest;
    assert!(!imported.known);
    assert_eq!((manifest.name.as_str(), manifest.backend.as_str()), ("qwen3-0.6b--q8_0", "llama"));
    assert_eq!((manifest.files[0].role.as_str(), manifest.files[0].name.as_str()), ("model", "Qwen3 0.6B (Q8_0).gguf"));
    assert_eq!(home.catalog().get("qwen3-0.6b--q8_0").unwrap(), manifest);
    assert_eq!(verify(&home.store(), manifest).unwrap().len(), 1);
    let whisper = home.write("ggml-mine.bin", WHISPER);
    let license = Import { license: Some("cc-by-nc-4.0".to_owned()), ..asked(Placing::Copy) };
    let manifest = home.import(&whisper, &license).unwrap().manifest;
    assert_eq!((manifest.task.as_str(), manifest.backend.as_str()), ("transcribe", "whisper"));
    assert!(manifest.restricted);
}

#[test]
fn what_nobody_said_is_asked_for_at_once() {
    let home = Home::new();
    for (name, bytes, wanted) in [
        ("m.gguf", &b"GGUF"[..], "say --task (chat, generate, embed …), --license"),
        ("m.bin", WHISPER, "say --license"),
        ("m.bin", b"lmgg\x0a\x00\x00\x00silero-16k", "say --backend, --task (chat, generate, embed …), --license"),
        ("模型.gguf", b"GGUF", "say --name, --task (chat, generate, embed …), --license"),
    ] {
        let error = home.import(&home.write(name, bytes), &asked(Placing::Copy)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Import { .. }) && is_one_sentence(&error), "{error}");
        assert!(error.to_string().ends_with(wanted), "{error}");
    }
    assert!(home.names("models").is_empty() && home.names("blobs").is_empty());
}

#[test]
fn a_name_that_is_none_or_taken_is_refused_before_anything_is_written() {
    let home = Home::new();
    home.publish(&model("taken", &["one"]));
    let path = home.write("m.gguf", b"GGUF");
    for name in ["..", "a/b", "%2e", "nul", "a\0", ""] {
        let error =
            home.import(&path, &Import { name: Some(name.to_owned()), ..described(Placing::Copy) }).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Name { .. }), "{error}");
    }
    let named = Import { name: Some("taken".to_owned()), ..described(Placing::Copy) };
    let error = home.import(&path, &named).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Exists { .. }), "{error}");
    assert!(!home.root.join("store").exists());
    // The same file again is no other model.
    let again = home.import(&path, &described(Placing::Copy)).unwrap();
    assert!(!again.files[0].was_there);
    assert!(home.import(&path, &described(Placing::Copy)).unwrap().files[0].was_there);
}

#[test]
fn the_first_part_of_a_split_model_brings_the_others() {
    let home = Home::new();
    let parts: Vec<_> = (1..=3)
        .map(|n| home.write(&format!("big-{n:05}-of-00003.gguf"), format!("GGUF part {n}").as_bytes()))
        .collect();
    let error = home.import(&parts[1], &described(Placing::Copy)).unwrap_err();
    assert!(error.to_string().contains("is part 2 of 3: import the first one"), "{error}");
    let imported = home.import(&parts[0], &described(Placing::Copy)).unwrap();
    assert_eq!(imported.manifest.name, "big");
    let names: Vec<&str> = imported.manifest.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["big-00001-of-00003.gguf", "big-00002-of-00003.gguf", "big-00003-of-00003.gguf"]);
    assert_eq!(verify(&home.store(), &imported.manifest).unwrap().len(), 3);
    fs::remove_file(&parts[2]).unwrap();
    let error = home.import(&parts[0], &described(Placing::Copy)).unwrap_err();
    assert!(error.to_string().contains("00003-of-00003.gguf is not beside it"), "{error}");
}

#[test]
fn without_a_flag_a_file_is_cloned_or_the_error_says_what_a_copy_takes() {
    let home = Home::new();
    let path = home.write("m.gguf", b"GGUF and so on");
    match home.import(&path, &described(Placing::Clone)) {
        Ok(imported) => assert_eq!(fs::read(&imported.files[0].place).unwrap(), b"GGUF and so on"),
        Err(error) => {
            let text = error.to_string();
            assert!(matches!(error.kind(), ErrorKind::Import { .. }) && is_one_sentence(&error), "{error}");
            assert!(text.contains("--copy takes 14 bytes") && text.contains("--link"), "{error}");
            assert!(home.names("blobs").is_empty() && home.names("models").is_empty());
            assert!(
                home.store().collect(&Collect { all_parts: true, ..Collect::default() }).unwrap().removed.is_empty()
            );
        }
    }
}

#[cfg(unix)]
#[test]
fn a_hard_link_is_the_same_file_and_is_hashed_again_when_it_is_used() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use tenon_store::{How, VerifyMode};
    let home = Home::new();
    let path = home.write("m.gguf", b"GGUF and so on");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let imported = home.import(&path, &described(Placing::HardLink)).unwrap();
    let (ours, theirs) = (fs::metadata(&imported.files[0].place).unwrap(), fs::metadata(&path).unwrap());
    assert_eq!((ours.ino(), ours.nlink()), (theirs.ino(), 2));
    assert_eq!(theirs.permissions().mode() & 0o777, 0o640);
    assert!(home.names("parts").is_empty());
    let found = home.store().verify(&imported.manifest, VerifyMode::Cached, &mut go_on).unwrap();
    assert_eq!(found[0].how(), How::Hashed);
    fs::write(&path, b"GGUF and no more").unwrap();
    assert!(verify(&home.store(), &imported.manifest).is_err());
    assert_eq!(home.store().remove(&["m"]).unwrap().bytes(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"GGUF and no more");
}

#[test]
fn a_file_that_is_linked_stays_where_it_is_and_is_hashed_there() {
    let home = Home::new();
    let path = home.write("my models/m.gguf", b"GGUF and so on");
    let imported = home.import(&path, &described(Placing::Link)).unwrap();
    assert_eq!(imported.files[0].place.parent(), Some(&*home.root.join("store/links")));
    assert!(home.names("blobs").is_empty());
    let found = verify(&home.store(), &imported.manifest).unwrap();
    assert_eq!(found[0].path(), path);
    assert!(home.import(&path, &described(Placing::Link)).unwrap().files[0].was_there);
    fs::write(&path, b"GGUF and so oN").unwrap();
    let error = verify(&home.store(), &imported.manifest).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let error = verify(&home.store(), &imported.manifest).unwrap_err();
    assert!(error.to_string().ends_with(&format!("put it at {}", path.display())), "{error}");
    home.write("my models/m.gguf", b"GGUF and so on");
    home.store().remove(&["m"]).unwrap();
    assert!(path.exists() && home.names("links").is_empty());
}

#[test]
fn a_link_that_holds_no_absolute_path_is_not_followed() {
    let home = Home::new();
    let manifest = model("a", &["one"]);
    for target in ["one.bin", "", "../one.bin"] {
        home.write(&format!("store/links/sha256-{}", manifest.files[0].sha256), target.as_bytes());
        let error = verify(&home.store(), &manifest).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::UnsafePath { .. }), "{target}: {error}");
    }
}

#[test]
fn what_is_no_plain_file_is_not_imported() {
    let home = Home::new();
    for path in [home.root.join("none.gguf"), home.root.join("models"), home.write("empty.gguf", b"")] {
        let error = home.import(&path, &described(Placing::Copy)).unwrap_err();
        assert!(is_one_sentence(&error), "{error}");
    }
    assert!(!home.root.join("store").exists());
}

#[test]
fn a_cancelled_import_leaves_no_model() {
    let home = Home::new();
    let path = home.write("m.gguf", &[b"GGUF".to_vec(), vec![0; 1 << 20]].concat());
    let catalog = home.catalog();
    let mut calls = 0;
    let outcome = home.store().import(&path, &catalog, &described(Placing::Copy), &mut |_| {
        calls += 1;
        if calls > 3 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::Cancelled));
    assert!(home.names("models").is_empty() && home.names("blobs").is_empty());
    home.store().collect(&Collect { all_parts: true, ..Collect::default() }).unwrap();
    assert!(home.names("parts").is_empty());
}
