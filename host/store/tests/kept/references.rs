use crate::support::*;
use std::fs;
use tenon_store::{Catalog, ErrorKind, Manifest};

#[test]
fn a_reference_reads_back_and_keeps_the_text_that_it_was_read_from() {
    let home = Home::new();
    let store = home.store();
    let text = "# a remark\nname = \"a\"\ntask = \"chat\"\nbackend = \"echo\"\nlicense = \"MIT\"\n";
    let path = home.write("manifests/a.toml", text.as_bytes());
    let manifest = Manifest::read(&path).unwrap();
    let reference = store.refer(&manifest).unwrap();
    assert_eq!(reference, home.root.join("store/models/a.toml"));
    assert_eq!(fs::read_to_string(&reference).unwrap(), text);
    store.refer(&model("b", &["one", "two"])).unwrap();
    let references = store.references().unwrap();
    assert_eq!(references.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(*references[1].manifest.as_ref().unwrap(), model("b", &["one", "two"]));
    assert_eq!(home.names("models"), ["a.toml", "b.toml"]);
}

#[test]
fn a_reference_replaces_the_one_of_its_name_and_goes_when_it_is_removed() {
    let home = Home::new();
    let store = home.store();
    store.refer(&model("a", &["one"])).unwrap();
    store.refer(&model("a", &["two"])).unwrap();
    assert_eq!(*store.references().unwrap()[0].manifest.as_ref().unwrap(), model("a", &["two"]));
    assert!(store.unrefer("a").unwrap());
    assert!(!store.unrefer("a").unwrap());
    assert!(store.references().unwrap().is_empty());
}

#[test]
fn a_name_that_leads_elsewhere_is_no_name() {
    let home = Home::new();
    let store = home.store();
    let outside = home.write("store/a.toml", b"");
    let long = "a".repeat(65);
    for name in
        ["../a", "..", ".", "", "a/b", "a\\b", "%2e%2e%2fa", "a%2e", "a\0", "nul", "con.x", "a.", "A", "/a", &long]
    {
        let named = model(name, &[]);
        let errors = [
            store.refer(&named).unwrap_err(),
            store.unrefer(name).unwrap_err(),
            store.claim(&named).map(drop).unwrap_err(),
            store.remove(&[name]).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error.kind(), ErrorKind::Name { .. }), "{name:?}: {error}");
            assert!(is_one_sentence(&error), "{error}");
        }
    }
    assert!(outside.exists());
    assert!(home.names("models").is_empty() && home.names("parts").is_empty());
}

#[test]
fn a_manifest_that_would_not_read_back_gets_no_reference() {
    let home = Home::new();
    let mut manifest = model("a", &["one"]);
    manifest.files[0].name = "../one".to_owned();
    let error = home.store().refer(&manifest).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Manifest { .. }), "{error}");
    assert!(home.names("models").is_empty());
}

#[test]
fn a_reference_that_repeats_the_catalogue_is_not_shadowed_and_another_is() {
    let home = Home::new();
    let store = home.store();
    let text = format!("# with a remark\n{}", model("a", &["one"]).to_toml());
    home.write("manifests/a.toml", text.as_bytes());
    home.write("manifests/b.toml", model("b", &["one"]).to_toml().as_bytes());
    let mut locations = home.locations();
    locations.manifests = vec![home.root.join("manifests")];
    store.refer(&model("a", &["one"])).unwrap();
    store.refer(&model("b", &["other"])).unwrap();
    store.refer(&model("c", &["one"])).unwrap();
    let catalog = Catalog::read(&locations.manifest_folders());
    let shadowed: Vec<&str> = catalog.shadowed().iter().map(|one| one.name.as_str()).collect();
    assert_eq!(shadowed, ["b"]);
    assert_eq!(*catalog.get("b").unwrap(), model("b", &["one"]));
    assert_eq!(catalog.get("c").unwrap().path(), home.root.join("store/models/c.toml"));
}

#[test]
fn a_store_without_a_folder_is_refused_and_not_made_in_the_current_one() {
    let store = tenon_store::Store::new(Vec::new(), Default::default(), Default::default());
    let error = store.refer(&model("a", &["one"])).unwrap_err();
    assert!(is_one_sentence(&error) && error.to_string().contains("--store"), "{error}");
    assert!(store.references().unwrap().is_empty());
    assert!(store.collect(&Default::default()).unwrap().removed.is_empty());
    assert!(!std::path::Path::new("parts").exists());
}

#[test]
fn a_store_that_cannot_be_written_to_says_so_in_one_sentence() {
    let home = Home::new();
    // Whoever runs the tests, nobody makes a folder in a file.
    home.write("store", b"a file");
    let manifest = model("a", &["one"]);
    let store = home.store();
    for error in [store.refer(&manifest).unwrap_err(), store.claim(&manifest).map(drop).unwrap_err()] {
        assert!(is_one_sentence(&error), "{error}");
        assert!(error.to_string().contains(&*home.root.join("store").to_string_lossy()), "{error}");
    }
}
