//! `tenon transcribe`.

use crate::support::Tenon;
use serde_json::{Value, json};

const TEXT: &str = "second 1 peak 50\nsecond 2 peak 50\nsecond 3 peak 50\n";

#[test]
fn prints_a_line_per_segment_and_nothing_else() {
    let ran = Tenon::new().run(&["transcribe", "-m", "speech", "a.wav"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), (TEXT, "", 0));
}

#[test]
fn the_only_model_for_speech_needs_no_name() {
    let tenon = Tenon::new();
    assert_eq!(tenon.run(&["transcribe", "a.wav"]).ok(), TEXT);
    tenon.home.add_manifest("speech-2", "transcribe", "echo", "");
    let ran = tenon.run(&["transcribe", "a.wav"]);
    assert_eq!(ran.code, 2);
    assert_eq!(ran.err, "error: several models for transcribe are present: name one with -m: speech, speech-2\n");
    assert_eq!(tenon.run_env(&["transcribe", "a.wav"], &[("TENON_MODEL", "speech-2")]).ok(), TEXT);
    assert_eq!(tenon.run(&["transcribe", "-m=speech-2", "a.wav"]).ok(), TEXT);
}

#[test]
fn every_format_is_printed_byte_by_byte() {
    let tenon = Tenon::new();
    for format in ["txt", "srt", "vtt", "lrc", "csv", "tsv", "whisper-json", "whisper-json-full"] {
        let text = tenon.run(&["transcribe", "-m", "speech", "--output-format", format, "a.wav"]).ok();
        insta::assert_snapshot!(format!("transcript.{format}"), text);
    }
}

#[test]
fn json_holds_text_times_usage_and_provenance() {
    let tenon = Tenon::new();
    let json = tenon.run(&["transcribe", "-m", "speech", "--output-format", "json", "--words", "a.wav"]).json();
    assert_eq!(json["text"], "second 1 peak 50 second 2 peak 50 second 3 peak 50");
    assert_eq!(json["language"], "en");
    assert_eq!(json["duration"], 2.5);
    assert_eq!(json["segments"][2]["start"], 2.0);
    assert_eq!(json["segments"][2]["end"], 2.5);
    assert_eq!(json["segments"][0]["words"][1], json!({"start": 0.25, "end": 0.5, "text": "1", "confidence": 1.0}));
    assert_eq!(json["usage"]["audio_us"], 2_500_000);
    assert_eq!(json["provenance"]["files"][0]["name"], "speech.bin");
    assert_eq!(json["provenance"]["options"]["words"], true);
    assert_eq!(tenon.run(&["transcribe", "-m", "speech", "--json", "a.wav"]).json()["text"], json["text"]);
}

#[test]
fn several_inputs_follow_one_another_and_json_becomes_an_array() {
    let tenon = Tenon::new();
    let text = tenon.run(&["transcribe", "-m", "speech", "a.wav", "-f", "b.wav"]).ok();
    assert_eq!(text, format!("{TEXT}second 1 peak 50\n"));
    let json = tenon.run(&["transcribe", "-m", "speech", "--json", "a.wav", "b.wav"]).json();
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    assert_eq!(json[1]["file"], "b.wav");
}

#[test]
fn audio_is_read_from_standard_input() {
    let tenon = Tenon::new();
    let wav = std::fs::read(tenon.home.path().join("a.wav")).unwrap();
    assert_eq!(tenon.run_with(&["transcribe", "-m", "speech", "-"], &wav).ok(), TEXT);
    let ran = tenon.run_with(&["transcribe", "-m", "speech", "-", "-"], &wav);
    assert_eq!((ran.code, ran.err.as_str()), (2, "error: standard input can be read only once\n"));
}

#[test]
fn flags_of_whisper_cli_write_files_beside_the_input() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["transcribe", "-m", "speech", "-osrt", "-ovtt", "-oj", "-l", "en", "a.wav"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert_eq!(ran.err, "wrote a.wav.srt\nwrote a.wav.vtt\nwrote a.wav.json\n");
    assert!(tenon.read("a.wav.srt").starts_with("1\n00:00:00,000 --> 00:00:01,000\n second 1 peak 50\n\n2\n"));
    assert!(tenon.read("a.wav.vtt").starts_with("WEBVTT\n\n"));
    let json: Value = serde_json::from_str(&tenon.read("a.wav.json")).unwrap();
    assert_eq!(json["transcription"][1]["offsets"], json!({"from": 1000, "to": 2000}));
}

#[test]
fn output_file_and_folder_say_where_to_write() {
    let tenon = Tenon::new();
    tenon.run(&["transcribe", "-m", "speech", "-osrt", "-of", "first", "-of", "sub/second", "a.wav", "b.wav"]).ok();
    assert!(tenon.read("sub/second.srt").contains("00:00:00,500"));
    assert!(tenon.read("first.srt").contains("00:00:02,500"));
    let text = tenon.run(&["transcribe", "-m", "speech", "-osrt", "-of", "-", "b.wav"]).ok();
    assert_eq!(text, "1\n00:00:00,000 --> 00:00:00,500\n second 1 peak 50\n\n");
    tenon.run(&["transcribe", "-m", "speech", "-q", "-o", "subs", "--output_format", "tsv", "a.wav", "b.wav"]).ok();
    assert_eq!(tenon.read("subs/b.tsv"), "start\tend\ttext\n0\t500\tsecond 1 peak 50\n");
    assert!(!tenon.home.path().join("subs/a.tsv.part").exists());
}

#[test]
fn json_goes_where_each_input_says_and_into_files_beside_json() {
    let tenon = Tenon::new();
    let transcribe = |args: &[&str]| tenon.run(&[&["transcribe", "-m", "speech"], args].concat());
    let json = ["--output-format", "json"];
    assert_eq!(transcribe(&[&json[..], &["-of", "-", "a.wav"]].concat()).json()["duration"], 2.5);
    let both = transcribe(&[&json[..], &["-of", "-", "a.wav", "b.wav"]].concat()).json();
    assert_eq!((&both[0]["file"], &both[1]["file"]), (&json!("a.wav"), &json!("b.wav")));
    assert_eq!(transcribe(&[&json[..], &["-of", "first", "a.wav", "b.wav"]].concat()).json()["file"], "b.wav");
    assert_eq!(serde_json::from_str::<Value>(&tenon.read("first.json")).unwrap()["file"], "a.wav");
    assert_eq!(transcribe(&[&json[..], &["-o", "sub", "--json", "a.wav"]].concat()).json()["file"], "a.wav");
    assert_eq!(serde_json::from_str::<Value>(&tenon.read("sub/a.json")).unwrap()["duration"], 2.5);
    assert_eq!(transcribe(&["--json", "-osrt", "-of", "beside", "a.wav"]).json()["duration"], 2.5);
    assert!(tenon.read("beside.srt").starts_with("1\n"));
}

#[test]
fn without_any_argument_the_input_is_what_is_missing() {
    let ran = Tenon::new().run(&["transcribe"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "error: no input: name audio files, or - for standard input\n"));
}

#[test]
fn outputs_that_contradict_each_other_are_bad_usage() {
    let tenon = Tenon::new();
    std::fs::copy(tenon.home.path().join("b.wav"), tenon.home.path().join("in.txt")).unwrap();
    let refused = |args: &[&str], sentence: &str| {
        let ran = tenon.run(&[&["transcribe", "-m", "speech"], args].concat());
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.err.contains(sentence), "{}", ran.err);
        assert_eq!(ran.out, "");
    };
    refused(&[], "no input: name audio files, or - for standard input");
    refused(&["-osrt", "-ovtt", "-of", "-", "a.wav"], "standard output takes one format");
    refused(&["-osrt", "-o", "subs", "a.wav", "sub/a.mp3"], "subs/a.srt would be written twice");
    refused(&["-of", "x", "-of", "y", "a.wav"], "--output-file is given more often than there are inputs");
    refused(&["--json", "--output-format", "srt", "a.wav"], "--json prints JSON");
    refused(&["--detect-language", "--output-format", "srt", "a.wav"], "gives no transcript");
    refused(&["--translate", "--detect-language", "a.wav"], "cannot be used with");
    refused(&["--output-format", "doc", "a.wav"], "possible values: txt, srt, vtt");
    refused(&["--json", "-o", "subs", "a.wav"], "say what the files hold with --output-format");
    refused(&["--json", "-of", "x", "a.wav"], "say what the files hold with --output-format");
    refused(&["--json", "-osrt", "-of", "-", "a.wav"], "--json prints JSON");
    refused(&["-osrt", "a.wav", "./a.wav"], "a.wav.srt would be written twice");
    refused(&["-otxt", "-of", "./in", "in.txt"], "in.txt is a recording and would be overwritten");
    refused(&["."], "a folder; name the audio files in it");
}

#[test]
fn one_failed_input_of_several_does_not_stop_the_others_and_exits_with_9() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["transcribe", "-m", "speech", "bad.wav", "a.wav", "nosuch.wav"]);
    assert_eq!((ran.code, ran.out.as_str()), (9, TEXT));
    insta::assert_snapshot!("some_failed", ran.err);
    let ran = tenon.run(&["transcribe", "-m", "speech", "--json", "a.wav", "nosuch.wav"]);
    assert_eq!(ran.code, 9);
    assert_eq!(ran.json_error()["kind"], "some-failed");
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json[0]["duration"], 2.5);
    assert_eq!(json[1]["error"]["kind"], "not-found");
}

#[test]
fn the_error_of_a_single_input_is_that_of_the_command() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["transcribe", "-m", "speech", "nosuch.wav"]);
    assert_eq!(ran.code, 3);
    assert!(ran.err.starts_with("error: nosuch.wav: cannot be opened: "), "{}", ran.err);
    let ran = tenon.run(&["transcribe", "-m", "speech", "--json", "bad.wav"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    let error = ran.json_error();
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_u64()), (Some("audio"), Some(1)));
    assert_eq!(error["details"]["input"], "bad.wav");
}

#[test]
fn events_come_as_lines_of_json() {
    let tenon = Tenon::new();
    let lines = tenon.run(&["transcribe", "-m", "speech", "--jsonl", "a.wav"]).json_lines();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["type"].as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "segment").count(), 3);
    assert!(names.contains(&"language"));
    assert_eq!(names.last(), Some(&"end"));
    assert_eq!(lines.last().unwrap()["answer"]["segments"].as_array().map(Vec::len), Some(3));
    let ran = tenon.run(&["transcribe", "-m", "speech", "--jsonl", "bad.wav"]);
    assert_eq!(ran.json_error()["kind"], "audio");
}

#[test]
fn language_translation_and_presets_reach_the_backend() {
    let tenon = Tenon::new();
    let transcribe = |args: &[&str]| tenon.run(&[&["transcribe", "-m", "speech"], args].concat());
    assert_eq!(transcribe(&["--detect-language", "a.wav"]).ok(), "en\n");
    assert_eq!(transcribe(&["-dl", "--json", "a.wav"]).json()["language_probability"], 1.0);
    assert!(transcribe(&["-tr", "a.wav"]).ok().starts_with("SECOND 1"));
    assert_eq!(transcribe(&["--preset", "german", "--json", "a.wav"]).json()["language"], "de");
    assert_eq!(transcribe(&["--preset", "german", "-l", "fr", "--json", "a.wav"]).json()["language"], "fr");
    let ran = transcribe(&["--preset", "germ", "a.wav"]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("german"), "{}", ran.err);
}

#[test]
fn options_of_the_backend_are_flags_pairs_and_help() {
    let tenon = Tenon::new();
    let transcribe = |args: &[&str]| tenon.run(&[&["transcribe", "-m", "speech"], args].concat());
    let json = transcribe(&["--json", "--temperature", "0.5", "-o", "delay_ms=1", "a.wav"]).json();
    assert_eq!(json["provenance"]["options"]["temperature"], 0.5);
    assert_eq!(json["provenance"]["options"]["delay_ms"], 1);
    let refused = [
        (&["--temperatur", "0"][..], "a similar argument exists: '--temperature'"),
        (&["--temperature", "7"], "must be a number from 0 to 1, not 7"),
        (&["-o", "temperatur=0"], "unknown option \"temperatur\" (did you mean \"temperature\"?)"),
        (&["-o", "words=perhaps"], "must be true or false"),
    ];
    for (args, sentence) in refused {
        let ran = transcribe(&[args, &["a.wav"]].concat());
        assert_eq!(ran.code, 2, "{}", ran.err);
        assert!(ran.err.contains(sentence), "{}", ran.err);
    }
    let help = transcribe(&["--help"]).unwrapped();
    assert!(help.contains("Options of speech (echo 0.1.0):"), "{help}");
    assert!(help.contains("--delay-ms <N>"), "{help}");
    assert!(help.contains("[a number from 0 to 1; default: 0.0; also: -tp]"), "{help}");
}

#[test]
fn help_without_a_usable_model_is_still_help() {
    let tenon = Tenon::new();
    for args in [&["transcribe", "-m", "nosuch", "--help"][..], &["run", "--help"], &["transcribe", "-h"]] {
        assert!(tenon.run(args).ok().contains("Usage: tenon "), "{args:?}");
    }
}

#[test]
fn what_whisper_cli_has_and_tenon_has_not_is_refused() {
    let tenon = Tenon::new();
    for (args, sentence) in [
        (&["-p", "4"][..], "--processors above 1 is not supported"),
        (&["-vm", "vad.bin"], "name the VAD model in the manifest"),
        (&["-di"], "telling speakers apart is not supported"),
    ] {
        let ran = tenon.run(&[&["transcribe", "-m", "speech"], args, &["a.wav"]].concat());
        assert_eq!(ran.code, 1, "{}", ran.err);
        assert!(ran.err.contains(sentence), "{}", ran.err);
    }
    let harmless = ["transcribe", "-m", "speech", "-np", "-ng", "-p", "1", "-t", "2", "a.wav"];
    assert_eq!(tenon.run(&harmless).ok(), TEXT);
}

#[test]
fn colours_follow_the_environment() {
    let tenon = Tenon::new();
    let args = ["transcribe", "-m", "speech", "-pc", "b.wav"];
    assert_eq!(tenon.run_env(&args, &[]).ok(), "second 1 peak 50\n");
    let coloured = tenon.run_env(&args, &[("CLICOLOR_FORCE", "1")]).ok();
    assert!(coloured.contains("\u{1b}[1m\u{1b}[32msecond"), "{coloured:?}");
    let plain = tenon.run_env(&args, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]).ok();
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn a_deadline_ends_a_request_that_takes_too_long() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["transcribe", "-m", "speech", "-o", "delay_ms=20000", "--deadline", "0.2", "a.wav"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("deadline"), "{}", ran.err);
}
