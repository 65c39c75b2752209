//! The tasks `generate` and `chat`: prompt to tokens, tokens to memory, memory to an answer.

use crate::model::{Loaded, available_threads};
use crate::native::{Context, ContextSettings, Step, Token};
use crate::options::{ChatOptions, PrefixReuse, PromptOptions, TextOptions};
use crate::sampling::{Choice, Rules, Sampler};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tenon_llama_text::{Chat, StopTexts, Turn, Utf8Joiner};
use tenon_plugin::{Call, Error, Result, Text, Token as TokenItem};
use tenon_tasks::{FinishReason, Usage};

/// A session's context and what is in it.
#[derive(Debug)]
pub struct Memory {
    context: Context,
    /// The tokens that it holds.
    tokens: Vec<Token>,
    /// How many of them, from the first on, were computed in whole steps of a prompt: those are as a fresh session
    /// would compute them, bit for bit.
    whole: usize,
    step: usize,
    size: usize,
}

impl Memory {
    fn new(model: &Loaded, threads: u32) -> Result<Self> {
        let options = &model.options;
        let size = options.context(model.native.trained_context())?;
        let step = options.step().min(size);
        let context = Context::new(
            &model.native,
            ContextSettings {
                size,
                batch: options.batch_size.min(size),
                ubatch: step,
                threads,
                flash_attention: options.attention(),
                memory_type: options.memory_type(),
                pooling: None,
            },
        )?;
        Ok(Self { context, tokens: Vec::new(), whole: 0, step: step as usize, size: size as usize })
    }

    /// Keeps what of the memory is the beginning of `prompt` and may be used again; gives its length.
    fn keep(&mut self, prompt: &[Token], reuse: PrefixReuse) -> Result<usize> {
        let same = self.tokens.iter().zip(prompt).take_while(|(old, new)| old == new).count();
        // The last token is computed anew in any case: its output is what the answer begins with.
        let most = same.min(prompt.len().saturating_sub(1));
        let kept = match reuse {
            PrefixReuse::Off => 0,
            PrefixReuse::Full => most,
            PrefixReuse::Exact => most.min(self.whole) / self.step * self.step,
        };
        let kept = if self.context.forget(kept)? { kept } else { 0 };
        self.tokens.truncate(kept);
        self.whole = self.whole.min(kept);
        Ok(kept)
    }

    /// Computes the rest of a prompt, step by step.
    fn prefill(&mut self, prompt: &[Token], call: &Call) -> Result<()> {
        while self.tokens.len() < prompt.len() {
            call.check()?;
            let start = self.tokens.len();
            let end = (start + self.step).min(prompt.len());
            self.compute(&prompt[start..end], call)?;
            if start == self.whole && start.is_multiple_of(self.step) && end - start == self.step {
                self.whole = end;
            }
        }
        Ok(())
    }

    fn compute(&mut self, tokens: &[Token], call: &Call) -> Result<()> {
        match self.context.compute(tokens, self.tokens.len(), false, call.cancel_probe())? {
            Step::Done => {
                self.tokens.extend_from_slice(tokens);
                Ok(())
            }
            Step::Cancelled => Err(Error::cancelled()),
        }
    }

    fn is_full(&self) -> bool {
        self.tokens.len() >= self.size
    }
}

/// Continues a prompt.
pub fn generate(
    model: &Arc<Loaded>,
    memory: &mut Option<Memory>,
    call: &Call,
    prompt: &str,
    options: &str,
) -> Result<()> {
    let options: PromptOptions = tenon_plugin::options(options)?;
    let mut tokens = Vec::new();
    if options.add_bos.unwrap_or(model.native.adds_bos()) {
        tokens.extend(model.native.bos());
    }
    tokens.extend(model.native.tokenize(prompt, false, options.special)?);
    answer(model, memory, call, &tokens, &options.text)
}

/// Answers a conversation by the model's own template.
pub fn chat(
    model: &Arc<Loaded>,
    memory: &mut Option<Memory>,
    call: &Call,
    texts: &[Text<'_>],
    options: &str,
) -> Result<()> {
    let options: ChatOptions = tenon_plugin::options(options)?;
    let tokens = chat_tokens(model, call, texts, &options)?;
    answer(model, memory, call, &tokens, &options.text)
}

/// The prompt of a conversation. Control tokens that stand in a message stay text.
fn chat_tokens(model: &Loaded, call: &Call, texts: &[Text<'_>], options: &ChatOptions) -> Result<Vec<Token>> {
    let template = model.template()?;
    if texts.is_empty() {
        return Err(Error::invalid_argument("a chat needs at least one message"));
    }
    let arguments = serde_json::to_string(&options.template_arguments).unwrap_or_default();
    let written = texts.iter().map(|turn| turn.text).chain([model.template_source(), arguments.as_str()]);
    let mark = model.controls.mark(written).ok_or_else(|| {
        Error::invalid_argument("the messages hold every one of the 32 noncharacters from U+FDD0 on; leave one out")
    })?;
    let turn = |text: &Text<'_>| {
        call.check()?;
        Ok(Turn { role: text.role.to_owned(), content: model.controls.defuse(text.text, mark) })
    };
    let messages = texts.iter().map(turn).collect::<Result<Vec<Turn>>>()?;
    let native = &model.native;
    let word = |token: Option<Token>| token.and_then(|token| native.text(token)).unwrap_or_default();
    let (bos, eos) = (word(native.bos()), word(native.eos()));
    let chat = Chat {
        messages: &messages,
        bos: &bos,
        eos: &eos,
        add_generation_prompt: true,
        arguments: &options.template_arguments,
    };
    let prompt = template.render(&chat).map_err(|error| Error::invalid_argument(error.to_string()))?;
    // Where the vocabulary adds the first token, the template's own would be a second one.
    let mut rest = prompt.as_str();
    let mut tokens = Vec::new();
    if native.adds_bos() {
        tokens.extend(native.bos());
        rest = rest.strip_prefix(bos.as_str()).filter(|_| !bos.is_empty()).unwrap_or(rest);
    }
    for piece in model.controls.pieces(rest, mark) {
        tokens.extend(native.tokenize(&piece.text, false, piece.control)?);
    }
    Ok(tokens)
}

/// Writes the answer to a prompt.
fn answer(
    model: &Arc<Loaded>,
    slot: &mut Option<Memory>,
    call: &Call,
    prompt: &[Token],
    options: &TextOptions,
) -> Result<()> {
    options.check()?;
    model.can_generate()?;
    if prompt.is_empty() {
        return Err(Error::invalid_argument("the prompt is empty"));
    }
    let threads = options.common.threads.or(model.options.threads).unwrap_or_else(available_threads);
    if slot.as_ref().is_none_or(|memory| memory.context.is_poisoned()) {
        *slot = None;
        *slot = Some(Memory::new(model, threads)?);
    }
    let Some(memory) = slot else { return Err(Error::internal("a session has no memory")) };
    if prompt.len() >= memory.size {
        let (needed, size) = (prompt.len(), memory.size);
        let message = format!(
            "the prompt has {needed} tokens and the context holds {size}, the answer included: shorten the prompt or \
             load the model with a larger `context_size`"
        );
        return Err(Error::context_overflow(message).detail("prompt_tokens", needed).detail("context_size", size));
    }
    let mut rules = Rules::new(&model.native, options)?;
    memory.context.set_threads(threads)?;
    let started = Instant::now();
    let cached = memory.keep(prompt, model.reuse())?;
    memory.prefill(prompt, call)?;
    let prompt_us = micros(started);
    let sampler = Sampler::new(&model.native, options, &mut rules, prompt, memory.size);
    let started = Instant::now();
    let mut writer = Writer::new(call, options);
    let ended = writer.run(model, memory, sampler, options.common.max_tokens)?;
    finish(call, &writer, &rules, ended)?;
    call.emit_usage(&Usage {
        prompt_tokens: prompt.len() as u64,
        cached_tokens: cached as u64,
        generated_tokens: writer.generated,
        audio_us: 0,
        prompt_us,
        generate_us: micros(started),
    })
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap_or(i64::MAX)
}

/// Why the writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Model,
    StopText,
    Limit,
    Context,
}

/// Checks the reply against its schema and says how it ended.
fn finish(call: &Call, writer: &Writer<'_>, rules: &Rules, ended: Ended) -> Result<()> {
    let cut = matches!(ended, Ended::Limit | Ended::Context);
    if let Some(contract) = &rules.contract {
        match contract.check(&writer.reply) {
            Ok(()) => {}
            Err(_) if cut => call.emit_note(
                "schema-incomplete",
                "the reply was cut by its length before it was whole JSON of the schema",
            )?,
            Err(error) => return Err(Error::backend(error.to_string())),
        }
    }
    if ended == Ended::Context {
        call.emit_note("context-full", "the answer was cut because the context is full")?;
    }
    let reason = if cut { FinishReason::Length } else { FinishReason::Stop };
    call.emit_finish(reason, writer.stop.found())
}

/// Hands an answer out as it grows: whole code points, nothing of a stop text.
struct Writer<'a> {
    call: &'a Call,
    stop: StopTexts,
    joiner: Utf8Joiner,
    /// The whole answer, where it is checked at the end.
    reply: String,
    keep_reply: bool,
    /// Tokens whose bytes are not all handed out yet, with the length of the answer at their end.
    waiting: Option<VecDeque<(Choice, Vec<u8>, usize)>>,
    written: usize,
    released: usize,
    generated: u64,
}

impl<'a> Writer<'a> {
    fn new(call: &'a Call, options: &TextOptions) -> Self {
        Self {
            call,
            stop: StopTexts::new(options.common.stop.iter().cloned()),
            joiner: Utf8Joiner::default(),
            reply: String::new(),
            keep_reply: options.common.json_schema.is_some(),
            waiting: options.common.tokens.then(VecDeque::new),
            written: 0,
            released: 0,
            generated: 0,
        }
    }

    /// Token after token until something ends the answer.
    fn run(&mut self, model: &Loaded, memory: &mut Memory, mut sampler: Sampler, most: Option<u32>) -> Result<Ended> {
        loop {
            self.call.check()?;
            let choice = sampler.choose(memory.context.logits()?)?;
            if model.native.ends(choice.token) {
                self.close()?;
                return Ok(Ended::Model);
            }
            self.generated += 1;
            let bytes = model.native.piece(choice.token, false)?;
            self.push(choice, bytes)?;
            if self.stop.found().is_some() {
                self.close()?;
                return Ok(Ended::StopText);
            }
            let full = memory.is_full();
            if full || most.is_some_and(|most| self.generated >= u64::from(most)) {
                self.close()?;
                return Ok(if full { Ended::Context } else { Ended::Limit });
            }
            memory.compute(&[choice.token], self.call)?;
        }
    }

    fn push(&mut self, choice: Choice, bytes: Vec<u8>) -> Result<()> {
        let out = self.stop.push(&bytes);
        self.written += bytes.len();
        if let Some(waiting) = &mut self.waiting {
            waiting.push_back((choice, bytes, self.written));
        }
        self.release(&out)
    }

    /// Ends the answer: what was held back comes out, unless it belongs to a stop text.
    fn close(&mut self) -> Result<()> {
        if self.stop.found().is_none() {
            let rest = self.stop.finish();
            self.release(&rest)?;
        }
        let rest = self.joiner.finish();
        self.emit(&rest)
    }

    fn release(&mut self, bytes: &[u8]) -> Result<()> {
        self.released += bytes.len();
        let text = self.joiner.push(bytes);
        self.emit(&text)?;
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        while waiting.front().is_some_and(|(_, _, end)| *end <= self.released) {
            if let Some((choice, bytes, _)) = waiting.pop_front() {
                self.call.emit_token(&TokenItem::new(choice.token, &bytes).logprob(choice.logprob))?;
            }
        }
        Ok(())
    }

    fn emit(&mut self, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.keep_reply {
            self.reply += text;
        }
        self.call.emit_text(text)
    }
}
