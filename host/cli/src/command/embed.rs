//! `tenon embed`: texts to vectors.

use crate::args::Embed;
use crate::command::{Chosen, run::piped};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use serde_json::{Value, json};
use tenon::Request;

/// Runs the command.
pub fn run(context: &Context, args: &Embed, chosen: Chosen) -> Outcome {
    let texts = texts(args)?;
    let model = context.load(&chosen.flags.model, &chosen.asked)?;
    let guard = context.interrupt.guard();
    let mut request = Request::embed(texts).options(chosen.asked.request).cancel(guard.token());
    if let Some(preset) = &args.asking.preset {
        request = request.preset(preset);
    }
    if let Some(deadline) = args.asking.deadline {
        request = request.deadline(deadline);
    }
    let answer = model.session()?.run(&request)?;
    for note in &answer.notes {
        context.out.warn(&note.message);
    }
    if !context.out.json {
        return answer.embeddings.iter().try_for_each(|vector| context.out.json_line(&json!(vector)));
    }
    let data = answer.embeddings.iter().enumerate();
    let data: Vec<Value> = data.map(|(index, embedding)| json!({"index": index, "embedding": embedding})).collect();
    context.out.json(&json!({
        "model": answer.provenance.model,
        "data": data,
        "usage": answer.usage,
        "notes": answer.notes,
        "timings": answer.timings,
        "provenance": answer.provenance,
    }))
}

fn texts(args: &Embed) -> Outcome<Vec<String>> {
    let texts: Vec<String> = match args.texts.is_empty() {
        false => args.texts.clone(),
        true => piped(true)?.unwrap_or_default().lines().map(str::to_owned).collect(),
    };
    match texts.is_empty() {
        true => Err(Failure::usage("no text: name some, or pipe one per line in")),
        false => Ok(texts),
    }
}
