//! Commands about what the store holds.

use crate::support::Tenon;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl Tenon {
    fn store(&self) -> PathBuf {
        self.home.path().join("user/.local/share/tenon")
    }

    /// How many files lie in a folder of the store.
    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.store().join(folder)).map_or(0, Iterator::count)
    }
}

#[test]
fn a_file_of_the_catalogue_is_imported_by_its_digest_alone_and_removed_again() {
    let tenon = Tenon::new();
    fs::rename(tenon.home.path().join("models/speech.bin"), tenon.home.path().join("downloaded")).unwrap();
    assert_eq!(tenon.run(&["verify", "speech"]).code, 3);
    let ran = tenon.run(&["import", "downloaded", "--copy"]);
    assert!(ran.out.starts_with("this is speech of the catalogue\n"), "{}{}", ran.out, ran.err);
    assert_eq!(tenon.run(&["verify", "speech"]).code, 0);
    assert_eq!((tenon.count("models"), tenon.count("blobs")), (1, 1));
    assert_eq!(tenon.run(&["gc"]).ok(), "nothing to remove\n");
    assert_eq!(tenon.run(&["rm", "speech"]).ok(), "removed speech: 1 file, 17 B\n");
    assert_eq!((tenon.count("models"), tenon.count("blobs")), (0, 0));
    assert_eq!(tenon.run(&["verify", "speech"]).code, 3);
}

#[test]
fn an_imported_file_that_nobody_knows_is_a_model_with_a_manifest() {
    let tenon = Tenon::new();
    tenon.write("My Model.gguf", b"GGUF and so on");
    let ran = tenon.run(&["import", "My Model.gguf", "--link"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("say --task (chat, generate, embed …), --license"), "{}", ran.err);
    let args = ["import", "My Model.gguf", "--link", "--task", "chat", "--license", "MIT", "--json"];
    let json = tenon.run(&args).json();
    assert_eq!((&json["name"], &json["known"]), (&Value::from("my-model"), &Value::from(false)));
    let shown = tenon.run(&["show", "my-model", "--json"]).json();
    assert_eq!((&shown["backend"], &shown["state"]), (&Value::from("llama"), &Value::from("present")));
    assert_eq!(shown["manifest"], json["manifest"]);
    assert!(tenon.run(&["list"]).ok().contains("\nmy-model "));
}

#[test]
fn rm_names_what_is_near_and_says_why_a_model_of_the_catalogue_is_not_in_the_store() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["rm", "speech"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.contains("it is in the catalogue, and was neither pulled nor imported"), "{}", ran.err);
    tenon.write("m.gguf", b"GGUF");
    tenon.run(&["import", "m.gguf", "--name", "whisper", "--link", "--task", "chat", "--license", "MIT"]).ok();
    let ran = tenon.run(&["rm", "whispr"]);
    assert!(ran.err.ends_with("holds no model \"whispr\" (did you mean \"whisper\"?)\n"), "{}", ran.err);
    let error = tenon.run(&["rm", "../x", "--json"]).json_error();
    assert_eq!((&error["kind"], &error["exit_code"]), (&Value::from("invalid-argument"), &Value::from(2)));
}

#[test]
fn gc_says_what_it_would_remove_and_stops_at_a_broken_reference() {
    let tenon = Tenon::new();
    let blob = tenon.write(&format!("user/.local/share/tenon/blobs/sha256-{}", "0".repeat(64)), b"garbage");
    let dry = tenon.run(&["gc", "--dry-run"]).ok();
    assert!(dry.contains("blobs/sha256-000") && dry.ends_with("would remove 1 file, 7 B\n"), "{dry}");
    let broken = tenon.write("user/.local/share/tenon/models/odd.toml", b"colour = \"blue\"");
    let ran = tenon.run(&["gc"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("odd.toml is a broken reference"), "{}", ran.err);
    assert!(blob.exists());
    tenon.home.add_manifest("odd", "chat", "echo", "");
    let ran = tenon.run(&["doctor"]);
    assert!(ran.out.contains("odd.toml cannot be read: mend it, or `tenon rm odd`"), "{}", ran.out);
    tenon.run(&["rm", "odd"]).ok();
    assert!(!broken.exists());
    let json = tenon.run(&["gc", "--json"]).json();
    assert_eq!((&json["bytes"], &json["dry_run"]), (&Value::from(7), &Value::from(false)));
    assert!(!blob.exists());
}

#[test]
fn the_store_is_where_the_flag_or_the_variable_says_also_with_spaces_and_letters_of_elsewhere() {
    let tenon = Tenon::new();
    tenon.write("m.gguf", b"GGUF");
    let args = ["import", "m.gguf", "--copy", "--task", "chat", "--license", "MIT", "--store", "Mein Spéicher Ω"];
    tenon.run(&args).ok();
    assert!(tenon.home.path().join("Mein Spéicher Ω/models/m.toml").exists());
    assert_eq!(tenon.run(&["show", "m"]).code, 3);
    assert_eq!(tenon.run(&["verify", "m", "--store", "Mein Spéicher Ω"]).code, 0);
    let other = tenon.home.path().join("Mein Spéicher Ω");
    let other = other.to_str().unwrap();
    assert_eq!(tenon.run_env(&["verify", "m"], &[("TENON_STORE", other)]).code, 0);
    let before = tenon.run_env(&["list"], &[("TENON_STORES", other)]).ok();
    assert!(before.contains("\nm "), "{before}");
    let ran = tenon.run_env(&["rm", "m"], &[("TENON_STORES", other)]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(tenon.home.path().join("Mein Spéicher Ω/models/m.toml").exists());
}

#[test]
fn a_store_that_cannot_be_made_is_one_sentence() {
    let tenon = Tenon::new();
    tenon.write("m.gguf", b"GGUF");
    tenon.write("file", b"");
    let args = ["import", "m.gguf", "--copy", "--task", "chat", "--license", "MIT", "--store", "file/store"];
    let ran = tenon.run(&args);
    assert_eq!((ran.code, ran.err.lines().count()), (1, 1), "{}", ran.err);
    assert!(ran.err.starts_with("error: cannot make file/store/parts: "), "{}", ran.err);
}

#[test]
fn a_new_manifest_names_chunks_when_asked() {
    let tenon = Tenon::new();
    tenon.write("m.gguf", &vec![7; 5_000_000]);
    let args =
        ["manifest", "new", "m", "m.gguf", "--backend", "echo", "--task", "chat", "--license", "MIT", "--chunks"];
    let json = tenon.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!(
        (&json["file"][0]["chunk_size"], json["file"][0]["chunks"].as_array().unwrap().len()),
        (&4_194_304.into(), 2)
    );
    let text = tenon.run(&args).ok();
    assert!(text.contains("chunk_size = 4194304\nchunks = [\n    \""), "{text}");
    tenon.write("m.toml", text.as_bytes());
    assert_eq!(tenon.run(&["manifest", "check", "m.toml"]).code, 0);
}

#[test]
fn a_corrupt_blob_that_cannot_be_fetched_is_out_of_use_all_the_same() {
    let tenon = Tenon::new();
    tenon.write("m.gguf", b"GGUF and so on");
    let json = tenon.run(&["import", "m.gguf", "--copy", "--task", "chat", "--license", "MIT", "--json"]).json();
    let blob = PathBuf::from(
        json["files"][0]["place"].as_str().unwrap().replace("[HOME]", tenon.home.path().to_str().unwrap()),
    );
    assert_eq!(tenon.run(&["verify", "m", "--repair", "--offline"]).code, 0);
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, b"GGUF and so oN").unwrap();
    assert_eq!(tenon.run(&["verify", "m"]).code, 4);
    assert!(blob.exists());
    let ran = tenon.run(&["verify", "m", "--repair", "--offline"]);
    assert_ne!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(!blob.exists());
    assert!(
        ran.err.lines().last().unwrap().contains("was corrupt and is out of use; nothing of it is kept"),
        "{}",
        ran.err
    );
    assert_eq!(tenon.run(&["verify", "m"]).code, 3);
    tenon.run(&["import", "m.gguf", "--copy"]).ok();
    assert_eq!(tenon.run(&["verify", "m"]).code, 0);
}

/// Serves one file by ranges on this machine, and counts the bytes that went out.
struct Server {
    address: String,
    sent: Arc<AtomicU64>,
}

impl Server {
    fn of(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/m.bin", listener.local_addr().unwrap());
        let sent = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&sent);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &content, &counted);
            }
        });
        Self { address, sent }
    }
}

fn answer(stream: TcpStream, content: &[u8], sent: &AtomicU64) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut range = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    let (first, last) = range.as_deref().and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let first: usize = first.parse().unwrap();
    let last: usize = last.parse().unwrap_or(content.len() - 1);
    let body = &content[first..=last];
    let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
    let (length, total) = (body.len(), content.len());
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nContent-Range: bytes {first}-{last}/{total}\r\n\
         Accept-Ranges: bytes\r\nETag: \"one\"\r\nConnection: close\r\n\r\n"
    );
    sent.fetch_add(length as u64, Ordering::SeqCst);
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body)
}

#[test]
fn a_repair_fetches_only_the_broken_chunks_and_leaves_files_outside_the_store_alone() {
    let tenon = Tenon::new();
    let content: Vec<u8> = (0..8 << 20).map(|index: usize| (index / 7 + index / 65_536) as u8).collect();
    let server = Server::of(content.clone());
    let file = tenon.write("m.bin", &content);
    let args = ["manifest", "new", "m", "m.bin", "--backend", "echo", "--task", "chat", "--license", "MIT", "--chunks"];
    let text = tenon.run(&[&args[..], &["--url", &server.address]].concat()).ok();
    tenon.write("manifests/m.toml", text.as_bytes());
    tenon.run(&["import", "m.bin", "--copy"]).ok();
    assert_eq!(tenon.run(&["verify", "m", "--repair"]).code, 0);
    assert_eq!(server.sent.load(Ordering::SeqCst), 0);
    // A blob loses its name, and gets it back with one chunk of two fetched.
    let blob = fs::read_dir(tenon.store().join("blobs")).unwrap().next().unwrap().unwrap().path();
    let mut broken = content.clone();
    broken[5 << 20] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, &broken).unwrap();
    let ran = tenon.run(&["verify", "m", "--repair"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("was corrupt and is out of use; 4.2 MB of it are kept"), "{}", ran.err);
    assert_eq!(server.sent.swap(0, Ordering::SeqCst), 4 << 20);
    assert!(fs::read(&blob).unwrap() == content);
    // A file in a folder of models stays as it is; the store gets the good one, from what is good of it.
    tenon.run(&["rm", "m"]).ok();
    fs::remove_file(&file).unwrap();
    let outside = tenon.write("models/m.bin", &broken);
    let json = tenon.run(&["verify", "--all", "--repair", "--json"]).json();
    let of_m = json.as_array().unwrap().iter().find(|report| report["name"] == "m").unwrap();
    assert_eq!((&of_m["ok"], &of_m["repaired"]), (&Value::from(true), &Value::from(true)), "{json}");
    assert_eq!(server.sent.load(Ordering::SeqCst), 4 << 20);
    assert!(fs::read(&blob).unwrap() == content && fs::read(&outside).unwrap() == broken);
    // A pulled model of which nothing is left is repaired too.
    fs::remove_file(&blob).unwrap();
    fs::remove_file(&outside).unwrap();
    assert_eq!(tenon.run(&["verify", "--all", "--repair"]).code, 0);
    assert!(fs::read(&blob).unwrap() == content);
}
