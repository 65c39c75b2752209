//! Asks a model of a folder and prints the answer, or the kind and message of the error:
//! `ask FOLDER MODEL TASK TEXT [LOAD-OPTIONS [OPTIONS]]`. The folder has plugins/ and manifests/; options are JSON.
//!
//! For `transcribe` the text is the path of an audio file. The tests run this to see what a plugin does to a process.

use std::env::args;
use std::process::ExitCode;
use tenon::{AudioSource, Engine, Error, ErrorKind, Load, Options, Request};

fn main() -> ExitCode {
    match ask(&args().skip(1).collect::<Vec<_>>()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", error.kind());
            ExitCode::from(error.kind().exit_code())
        }
    }
}

fn ask(args: &[String]) -> tenon::Result<String> {
    let [folder, model, task, text, options @ ..] = args else {
        return Err(Error::new(ErrorKind::InvalidArgument, "ask FOLDER MODEL TASK TEXT [LOAD-OPTIONS [OPTIONS]]"));
    };
    let engine = Engine::builder()
        .manifest_dir(format!("{folder}/manifests"))
        .plugin_dir(format!("{folder}/plugins"))
        .models_dir(format!("{folder}/models"))
        .state_dir(format!("{folder}/state"))
        .build()?;
    let model = engine.load(model, Load::new().options(parse(options.first())?))?;
    let request = match task.as_str() {
        "transcribe" => Request::transcribe(AudioSource::path(text)),
        _ => Request::generate(text),
    };
    let answer = model.session()?.run(&request.options(parse(options.get(1))?))?;
    drop(model);
    tenon::shutdown_plugins()?;
    Ok(answer.text)
}

fn parse(json: Option<&String>) -> tenon::Result<Options> {
    Options::from_json(json.map_or("{}", String::as_str))
        .map_err(|error| Error::new(ErrorKind::Options, error.to_string()))
}
