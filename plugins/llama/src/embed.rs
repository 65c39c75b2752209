//! The task `embed`: one vector for each text.

use crate::model::{Loaded, available_threads};
use crate::native::{Context, ContextSettings, Step, Token};
use llama_cpp_sys_2 as sys;
use std::time::Instant;
use tenon_plugin::{Call, Error, Result, Text};
use tenon_tasks::{EmbedOptions, Usage};

/// A context for embeddings and the longest text that it takes: pooling needs a text in one step.
#[derive(Debug)]
pub struct Pooler {
    context: Context,
    longest: usize,
}

/// Embeds every text.
pub fn embed(model: &Loaded, slot: &mut Option<Pooler>, call: &Call, texts: &[Text<'_>], options: &str) -> Result<()> {
    let options: EmbedOptions = tenon_plugin::options(options)?;
    let pooling = pooling(model)?;
    let started = Instant::now();
    let all =
        texts.iter().enumerate().map(|(index, text)| tokens(model, index, text.text)).collect::<Result<Vec<_>>>()?;
    let longest = all.iter().map(Vec::len).max().unwrap_or(0);
    let threads = options.threads.or(model.options.threads).unwrap_or_else(available_threads);
    if slot.as_ref().is_none_or(|pooler| pooler.context.is_poisoned() || pooler.longest < longest) {
        *slot = None;
        *slot = Some(Pooler::new(model, longest, pooling, threads)?);
    }
    let Some(pooler) = slot else { return Err(Error::internal("a session has no memory")) };
    pooler.context.set_threads(threads)?;
    for (index, tokens) in all.iter().enumerate() {
        call.check()?;
        let mut values = pooler.vector(tokens, call)?;
        if options.normalize {
            normalize(&mut values);
        }
        call.emit_embedding(index as u32, &values)?;
    }
    let prompt_us = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
    let prompt_tokens = all.iter().map(Vec::len).sum::<usize>() as u64;
    call.emit_usage(&Usage { prompt_tokens, prompt_us, ..Usage::default() })
}

/// The tokens of a text, once they fit.
fn tokens(model: &Loaded, index: usize, text: &str) -> Result<Vec<Token>> {
    let size = model.options.context(model.native.trained_context())? as usize;
    let tokens = model.native.tokenize(text, true, false)?;
    // What the vocabulary puts around a text is no text.
    let empty = tokens.len() <= 2 && model.native.tokenize(text, false, false)?.is_empty();
    match tokens.len() {
        _ if empty => Err(Error::invalid_argument(format!("text {} is empty", index + 1))),
        needed if needed > size => {
            let message = format!(
                "text {} has {needed} tokens and the context holds {size}: shorten it or load the model with a larger \
                 `context_size`",
                index + 1
            );
            Err(Error::context_overflow(message).detail("prompt_tokens", needed).detail("context_size", size))
        }
        _ => Ok(tokens),
    }
}

/// How the model pools: as its file says, else the mean.
fn pooling(model: &Loaded) -> Result<sys::llama_pooling_type> {
    if model.native.parts() == (true, true) {
        return Err(Error::unsupported("a model with an encoder and a decoder gives no embeddings here"));
    }
    match model.native.metadata(&format!("{}.pooling_type", model.architecture)).as_deref() {
        None | Some("0" | "1") => Ok(sys::LLAMA_POOLING_TYPE_MEAN),
        Some("2") => Ok(sys::LLAMA_POOLING_TYPE_CLS),
        Some("3") => Ok(sys::LLAMA_POOLING_TYPE_LAST),
        Some("4") => Err(Error::unsupported("this is a reranking model: it scores pairs of texts and embeds none")),
        Some(other) => Err(Error::model(format!("unknown pooling type {other}"))),
    }
}

impl Pooler {
    fn new(model: &Loaded, longest: usize, pooling: sys::llama_pooling_type, threads: u32) -> Result<Self> {
        let size = model.options.context(model.native.trained_context())?;
        // Rounded up, so that not every text that is a little longer needs a new context.
        let longest = (longest as u32).next_multiple_of(64).min(size);
        let settings = ContextSettings {
            size: longest,
            batch: longest,
            ubatch: longest,
            threads,
            flash_attention: model.options.attention(),
            memory_type: model.options.memory_type(),
            pooling: Some(pooling),
        };
        Ok(Self { context: Context::new(&model.native, settings)?, longest: longest as usize })
    }

    fn vector(&mut self, tokens: &[Token], call: &Call) -> Result<Vec<f32>> {
        self.context.forget(0)?;
        match self.context.compute(tokens, 0, true, call.cancel_probe())? {
            Step::Cancelled => return Err(Error::cancelled()),
            Step::Done => {}
        }
        let values = self.context.pooled()?.to_vec();
        if values.iter().all(|value| value.is_finite()) {
            return Ok(values);
        }
        Err(Error::backend("the model's output is not a number; the weights are damaged"))
    }
}

/// Scales to length 1; a vector of zeros stays one.
fn normalize(values: &mut [f32]) {
    let length = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|value| *value = (f64::from(*value) / length) as f32);
    }
}
