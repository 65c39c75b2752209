#![expect(clippy::single_range_in_vec_init, reason = "one missing range, and not its bytes")]

use super::*;
use crate::VerifyMode;
use proptest::prelude::*;

struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("tenon é 模 ").tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        Store::new(Vec::new(), self.folder.path().join("a store"), self.folder.path().join("state"))
    }

    fn part(&self, bytes: &[u8]) -> Part {
        match self.store().receive(Digest::of(bytes), bytes.len() as u64, &mut || ControlFlow::Break(())).unwrap() {
            Receive::Part(part) => part,
            Receive::Present(path) => panic!("{} is there", path.display()),
        }
    }

    fn parts(&self) -> Vec<String> {
        let list = fs::read_dir(self.store().folder().join("parts")).unwrap();
        let mut names: Vec<String> = list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn commit(part: Part) -> Result<PathBuf> {
    part.commit(&mut |_| ControlFlow::Continue(()))
}

fn source() -> Source {
    Source { url: "https://models.example/a".to_owned(), etag: Some("\"1\"".to_owned()) }
}

#[test]
fn bytes_become_a_blob_that_cannot_be_written_and_leave_nothing_behind() {
    let home = Home::new();
    let content = bytes(1_000_000);
    let part = home.part(&content);
    let mut writer = part.writer(0..content.len() as u64).unwrap();
    content.chunks(70_000).for_each(|chunk| writer.write(chunk).unwrap());
    assert_eq!((writer.remaining(), part.missing()), (0, vec![]));
    let blob = commit(part).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), content);
    assert!(fs::metadata(&blob).unwrap().permissions().readonly());
    assert!(home.parts().is_empty());
    let again = home.store().receive(Digest::of(&content), 1_000_000, &mut || ControlFlow::Break(())).unwrap();
    assert!(matches!(again, Receive::Present(path) if path == blob));
}

#[test]
fn a_blob_that_was_just_received_need_not_be_hashed_at_the_next_start() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    part.writer(0..1000).unwrap().write(&content).unwrap();
    let blob = commit(part).unwrap();
    let mut manifest = crate::Manifest::new("m", "chat", "echo", "MIT");
    manifest.files = vec![crate::ManifestFile::new("model", "m", Digest::of(&content), 1000)];
    let how = |store: &Store| {
        let verified = store.verify(&manifest, VerifyMode::Cached, &mut |_| ControlFlow::Continue(())).unwrap();
        verified[0].how()
    };
    assert_eq!(how(&home.store()), crate::How::Ledger);
    // Whoever touches it is noticed.
    make_private_for_writing(&blob);
    fs::write(&blob, [9; 1000]).unwrap();
    let error = home.store().verify(&manifest, VerifyMode::Cached, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::HashMismatch { .. }));
}

fn make_private_for_writing(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    make_private(&mut permissions);
    fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn a_part_of_which_somebody_wrote_less_goes_on_where_it_stopped() {
    let home = Home::new();
    let content = bytes(300_000);
    let part = home.part(&content);
    part.set_source(source()).unwrap();
    part.writer(0..300_000).unwrap().write(&content[..123_457]).unwrap();
    drop(part);
    let part = home.part(&content);
    assert_eq!((part.held(), part.missing(), part.source()), (123_457, vec![123_457..300_000], Some(source())));
    part.writer(123_457..300_000).unwrap().write(&content[123_457..]).unwrap();
    commit(part).unwrap();
}

#[test]
fn ranges_out_of_order_are_kept_and_hashed_once_they_join() {
    let home = Home::new();
    let content = bytes(900_000);
    let part = home.part(&content);
    part.set_source(source()).unwrap();
    let mut first = part.writer(0..300_000).unwrap();
    let mut last = part.writer(600_000..900_000).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| first.write(&content[..200_000]).unwrap());
        scope.spawn(|| last.write(&content[600_000..]).unwrap());
    });
    drop(part);
    let part = home.part(&content);
    assert_eq!(part.missing(), [200_000..600_000]);
    part.writer(200_000..600_000).unwrap().write(&content[200_000..600_000]).unwrap();
    commit(part).unwrap();
}

#[test]
fn other_bytes_than_the_digest_says_never_get_a_name_and_the_part_is_gone() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    part.writer(0..1000).unwrap().write(&[7; 1000]).unwrap();
    let error = commit(part).unwrap_err();
    let ErrorKind::HashMismatch { expected, actual, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((*expected, *actual), (Digest::of(&content), Digest::of(&[7; 1000])));
    assert!(home.parts().is_empty());
    assert!(!home.store().blob_path(Digest::of(&content)).exists());
}

#[test]
fn a_part_that_is_not_whole_is_no_blob_and_is_kept() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    part.writer(0..1000).unwrap().write(&content[..999]).unwrap();
    assert!(matches!(commit(part).unwrap_err().kind(), ErrorKind::SizeMismatch { actual: 999, .. }));
    assert_eq!(home.part(&content).held(), 999);
}

#[test]
fn more_bytes_than_a_range_has_are_refused() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    let mut writer = part.writer(0..5000).unwrap();
    assert_eq!(writer.remaining(), 1000);
    assert!(writer.write(&[0; 1001]).is_err());
    assert_eq!(part.held(), 0);
}

#[test]
fn a_part_that_holds_nothing_leaves_nothing() {
    let home = Home::new();
    let part = home.part(&bytes(1000));
    part.set_source(source()).unwrap();
    drop(part);
    assert!(home.parts().is_empty());
    home.part(&bytes(1000)).discard().unwrap();
    assert!(home.parts().is_empty());
}

#[test]
fn a_part_that_was_emptied_is_hashed_from_its_start_again() {
    let home = Home::new();
    let content = bytes(500_000);
    let part = home.part(&content);
    let mut old = part.writer(0..500_000).unwrap();
    old.write(&[1; 400_000]).unwrap();
    part.restart().unwrap();
    assert_eq!((part.held(), fs::metadata(part.path()).unwrap().len()), (0, 0));
    assert!(old.write(&[1; 10]).is_err());
    part.writer(0..500_000).unwrap().write(&content).unwrap();
    commit(part).unwrap();
}

#[test]
fn bytes_without_a_sidecar_or_of_another_size_count_for_nothing() {
    let home = Home::new();
    let content = bytes(1000);
    let sidecar = |home: &Home| home.store().part_path(Digest::of(&content), ".part.json");
    for spoil in [
        |path: &Path| fs::remove_file(path).unwrap(),
        |path: &Path| fs::write(path, "{\"version\":1,\"size\":999}").unwrap(),
        |path: &Path| fs::write(path, "{\"version\":2,\"size\":1000}").unwrap(),
        |path: &Path| fs::write(path, [0xff; 10]).unwrap(),
    ] {
        let part = home.part(&content);
        part.writer(0..1000).unwrap().write(&content[..500]).unwrap();
        drop(part);
        spoil(&sidecar(&home));
        assert_eq!(home.part(&content).held(), 0);
    }
}

#[test]
fn a_sidecar_that_claims_more_than_there_is_is_cut_to_the_file() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    part.writer(100..200).unwrap().write(&content[100..200]).unwrap();
    drop(part);
    let text = r#"{"version":1,"size":1000,"held":[[5,2],[100,18446744073709551615]]}"#;
    fs::write(home.store().part_path(Digest::of(&content), ".part.json"), text).unwrap();
    assert_eq!(home.part(&content).missing(), [0..100, 200..1000]);
}

#[test]
fn a_second_one_waits_until_the_first_is_done_and_then_finds_the_blob() {
    let home = Home::new();
    let content = bytes(100_000);
    let (digest, size) = (Digest::of(&content), 100_000);
    let mut part = Some(home.part(&content));
    let mut asked = 0;
    let found = home.store().receive(digest, size, &mut || {
        asked += 1;
        if asked == 2 {
            let part = part.take().unwrap();
            part.writer(0..size).unwrap().write(&content).unwrap();
            commit(part).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(found.unwrap(), Receive::Present(_)));
    assert_eq!(asked, 2);
}

#[test]
fn whoever_waits_may_give_up() {
    let home = Home::new();
    let content = bytes(10);
    let _part = home.part(&content);
    let error = home.store().receive(Digest::of(&content), 10, &mut || ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled));
    assert!(home.store().try_lock_blob(Digest::of(&content)).unwrap().is_none());
}

#[test]
fn a_blob_of_another_size_is_received_again() {
    let home = Home::new();
    let content = bytes(10);
    let blob = home.store().blob_path(Digest::of(&content));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, "short").unwrap();
    let part = home.part(&content);
    part.writer(0..10).unwrap().write(&content).unwrap();
    commit(part).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), content);
}

#[test]
fn a_blob_that_was_seen_to_be_broken_is_received_again() {
    let home = Home::new();
    let content = bytes(10);
    let digest = Digest::of(&content);
    let store = home.store();
    let blob = store.blob_path(digest);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, [0; 10]).unwrap();
    let file = File::open(&blob).unwrap();
    assert_eq!(store.digest_of(&file, &blob, digest, VerifyMode::Always).unwrap(), Digest::of(&[0; 10]));
    let part = home.part(&content);
    part.writer(0..10).unwrap().write(&content).unwrap();
    assert_eq!(fs::read(commit(part).unwrap()).unwrap(), content);
}

#[test]
fn of_an_adopted_file_only_the_bad_ranges_are_missing() {
    let home = Home::new();
    let content = bytes(1000);
    let digest = Digest::of(&content);
    for other_name in [false, true] {
        let store = home.store();
        let blob = store.blob_path(digest);
        let _ = fs::remove_file(&blob);
        let mut broken = content.clone();
        broken[500] ^= 1;
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, &broken).unwrap();
        let link = home.folder.path().join("other name");
        if other_name {
            fs::hard_link(&blob, &link).unwrap();
        }
        let lock = store.try_lock_blob(digest).unwrap().unwrap();
        let part = Part::adopt(&store, lock, (digest, 1000), &blob, &[0..400, 600..1000]).unwrap();
        assert_eq!(part.missing(), [400..600]);
        assert!(!blob.exists());
        part.writer(400..600).unwrap().write(&content[400..600]).unwrap();
        commit(part).unwrap();
        assert_eq!(fs::read(&blob).unwrap(), content);
        if other_name {
            assert_eq!(fs::read(&link).unwrap(), broken);
        }
    }
}

#[test]
fn a_part_filled_from_outside_is_hashed_like_any_other() {
    let home = Home::new();
    let content = bytes(100_000);
    let part = home.part(&content);
    write_all_at(part.file(), &content[..99_999], 0).unwrap();
    assert!(part.fill().is_err());
    write_all_at(part.file(), &content[99_999..], 99_999).unwrap();
    part.fill().unwrap();
    commit(part).unwrap();
}

#[test]
fn a_blob_that_no_disk_has_room_for_is_refused_before_anything_is_written() {
    let home = Home::new();
    let error = home.store().receive(Digest::of(b""), 1 << 60, &mut || ControlFlow::Break(())).unwrap_err();
    let ErrorKind::NoSpace { need, have, .. } = error.kind() else { panic!("{error}") };
    assert!(*need == 1 << 60 && have < need);
    assert!(home.parts().is_empty());
    assert!(home.store().room_for(1 << 60).is_err());
    assert!(home.store().room_for(1).is_ok());
}

#[test]
fn a_commit_that_is_cancelled_keeps_the_part() {
    let home = Home::new();
    let content = bytes(1000);
    let part = home.part(&content);
    part.writer(0..1000).unwrap().write(&content).unwrap();
    let error = part.commit(&mut |_| ControlFlow::Break(())).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled));
    commit(home.part(&content)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever order ranges come in, and whenever the process goes away, the sidecar claims only what is there.
    #[test]
    fn what_is_claimed_is_there(
        cuts in prop::collection::vec((0_u64..20_000, 1_u64..4_000, any::<bool>()), 1..12)
    ) {
        let home = Home::new();
        let content = bytes(20_000);
        let mut part = home.part(&content);
        for (start, length, leave) in cuts {
            let range = start..(start + length).min(20_000);
            let wanted = &content[range.start as usize..range.end as usize];
            part.writer(range).unwrap().write(wanted).unwrap();
            if leave {
                drop(part);
                part = home.part(&content);
            }
            let there = fs::read(part.path()).unwrap();
            let missing = part.missing();
            for (at, byte) in content.iter().enumerate() {
                let at = at as u64;
                if !missing.iter().any(|range| range.contains(&at)) {
                    prop_assert_eq!(there.get(at as usize), Some(byte));
                }
            }
        }
        for range in part.missing() {
            let wanted = &content[range.start as usize..range.end as usize];
            part.writer(range).unwrap().write(wanted).unwrap();
        }
        prop_assert_eq!(fs::read(commit(part).unwrap()).unwrap(), content);
    }
}
