//! `tenon run` and `tenon embed`.

use crate::support::Tenon;
use serde_json::json;

#[test]
fn prints_the_answer_and_a_line_end() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["run", "talk", "hello there"]);
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), ("hello there\n", "", 0));
    assert_eq!(tenon.run(&["run", "text", "several", "words"]).ok(), "several words\n");
    assert_eq!(tenon.run(&["run", "text", "-p", "as a flag"]).ok(), "as a flag\n");
}

#[test]
fn what_is_piped_in_is_appended_to_the_prompt() {
    let tenon = Tenon::new();
    assert_eq!(tenon.run_with(&["run", "text", "sum up:"], b"a\nb\n").ok(), "sum up:\n\na\nb\n");
    assert_eq!(tenon.run_with(&["run", "text"], b"only this").ok(), "only this\n");
    tenon.write("prompt.txt", b"from a file");
    assert_eq!(tenon.run(&["run", "text", "--file", "prompt.txt"]).ok(), "from a file\n");
}

#[test]
fn no_prompt_or_a_broken_one_is_bad_usage() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["run", "talk"]);
    assert_eq!((ran.code, ran.err.as_str()), (2, "error: no prompt: name one, or pipe one in\n"));
    let ran = tenon.run_with(&["run", "talk"], b"\xff\xfe");
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("not UTF-8"), "{}", ran.err);
    let ran = tenon.run(&["run"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("<NAME>"), "{}", ran.err);
    assert_eq!(tenon.run(&["run", "text", "--file", "nosuch.txt"]).code, 3);
}

#[test]
fn options_are_flags_and_llama_cli_names_work() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["run", "talk", "-n", "2", "one two three"]);
    assert_eq!((ran.out.as_str(), ran.code), ("one two \n", 0));
    assert!(ran.err.contains("warning: the answer was cut"), "{}", ran.err);
    assert_eq!(tenon.run(&["run", "--temp", "0", "talk", "--stop", "b", "a b c"]).ok(), "a \n");
    let json = tenon.run(&["run", "talk", "--json", "-s", "7", "-sys", "Be brief.", "hi"]).json();
    assert_eq!(json["text"], "hi");
    assert_eq!(json["finish"]["reason"], "stop");
    assert_eq!(json["provenance"]["options"]["seed"], 7);
    assert_eq!(json["provenance"]["model"], "talk");
    let help = tenon.run(&["run", "talk", "--help"]).unwrapped();
    assert!(help.contains("[a whole number from 1 to 1048576; also: -n --predict --n-predict]"), "{help}");
}

#[test]
fn a_model_that_knows_no_roles_refuses_a_system_message() {
    let ran = Tenon::new().run(&["run", "text", "--system", "Be brief.", "hi"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("knows no roles"), "{}", ran.err);
}

#[test]
fn a_schema_or_grammar_that_cannot_be_followed_is_refused() {
    let tenon = Tenon::new();
    tenon.write("schema.json", br#"{"type": "object"}"#);
    tenon.write("schema.bad", b"{");
    tenon.write("answer.gbnf", b"root ::= \"yes\"");
    for args in
        [["--format", "json"], ["--format", "schema.json"], ["-jf", "schema.json"], ["--grammar-file", "answer.gbnf"]]
    {
        let ran = tenon.run(&["run", "talk", args[0], args[1], "hi"]);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains("cannot follow a grammar or schema"), "{}", ran.err);
    }
    assert_eq!(tenon.run(&["run", "talk", "--format", "schema.bad", "hi"]).code, 2);
    assert_eq!(tenon.run(&["run", "talk", "--format", "nosuch.json", "hi"]).code, 3);
}

#[test]
fn events_and_counts_are_there_for_the_asking() {
    let tenon = Tenon::new();
    let lines = tenon.run(&["run", "talk", "--jsonl", "--tokens", "a b"]).json_lines();
    let text: String = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(text, "a b");
    assert!(lines.iter().any(|line| line["type"] == "token"));
    assert_eq!(lines.last().unwrap()["answer"]["text"], "a b");
    let ran = tenon.run(&["run", "talk", "--verbose", "a b"]);
    for line in ["total duration: ", "load duration: ", "prompt eval count:    2 token(s)", "eval rate: "] {
        assert!(ran.err.contains(line), "{}", ran.err);
    }
}

#[test]
fn a_panic_in_a_backend_is_an_error_with_exit_code_8() {
    let tenon = Tenon::new();
    let ran = tenon.run(&["run", "broken-backend", "--fault", "panic", "hi"]);
    assert_eq!(ran.code, 8, "{}", ran.err);
    assert_eq!(ran.err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{}", ran.err);
}

#[test]
fn vectors_are_printed_as_lines_or_as_one_object() {
    let tenon = Tenon::new();
    let lines = tenon.run(&["embed", "vectors", "one", "two"]).json_lines();
    assert_eq!((lines.len(), lines[0].as_array().map(Vec::len)), (2, Some(8)));
    let json = tenon.run_with(&["embed", "vectors", "--json"], b"one\ntwo\n").json();
    assert_eq!(json["data"][1]["index"], 1);
    assert_eq!(json["data"][0]["embedding"], lines[0]);
    let raw = tenon.run(&["embed", "vectors", "--normalize=false", "a"]).json_lines();
    assert_eq!(raw[0], json!([97.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(tenon.run(&["embed", "vectors"]).code, 2);
}

#[test]
fn a_name_that_is_no_model_never_runs_another_one() {
    let tenon = Tenon::new();
    for args in [
        &["run", "nosuch", "talk"][..],
        &["run", "sum", "this", "talk"],
        &["run", "--temp", "0", "nosuch", "talk"],
        &["run", "--quiet", "nosuch", "talk"],
        &["embed", "nosuch", "vectors"],
    ] {
        let ran = tenon.run(args);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains("nosuch") || ran.err.contains("\"sum\""), "{args:?}: {}", ran.err);
    }
}

#[test]
fn the_value_of_a_flag_or_a_word_of_the_prompt_is_not_the_model() {
    let tenon = Tenon::new();
    for args in [
        &["run", "-sys", "speech", "talk", "hi"][..],
        &["run", "-sys", "text", "talk", "hi"],
        &["run", "--stop", "speech", "talk", "hi"],
        &["run", "--stop", "text", "talk", "hi"],
        &["run", "--seed", "7", "--temp", "0", "talk", "hi"],
        &["run", "--", "talk", "hi"],
    ] {
        let json = tenon.run(&[&["--json"], args].concat()).json();
        assert_eq!(
            (json["provenance"]["model"].as_str(), json["text"].as_str()),
            (Some("talk"), Some("hi")),
            "{args:?}"
        );
    }
    assert_eq!(tenon.run(&["run", "talk", "speech", "text"]).ok(), "speech text\n");
    assert_eq!(tenon.run(&["embed", "vectors", "talk"]).json_lines().len(), 1);
}

#[test]
fn what_llama_cli_has_and_tenon_has_not_is_refused() {
    let tenon = Tenon::new();
    for (args, sentence) in [
        (&["-hf", "a/b"][..], "-hf of llama-cli is not supported: `tenon pull`"),
        (&["-dev", "none"], "-dev of llama-cli is not supported"),
        (&["-ctk", "q8_0"], "-ctk of llama-cli is not supported"),
        (&["-m", "model.gguf"], "name the model as the first argument"),
    ] {
        let ran = tenon.run(&[&["run", "talk"], args, &["hi"]].concat());
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(sentence), "{}", ran.err);
    }
    assert_eq!(tenon.run(&["run", "talk", "--", "-hf"]).ok(), "-hf\n");
}
