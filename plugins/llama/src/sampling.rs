//! From the scores of a vocabulary to the next token, in the order of llama.cpp's own tools.

use crate::native::{Grammar, Model, Token, schema_grammar};
use crate::options::TextOptions;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_sys_2::llama_token_data;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use tenon_llama_text::{Contract, grammar_tokens};
use tenon_plugin::{Error, Result};

/// Stack for llama.cpp's parsers of grammars and schemas, which recurse.
const PARSER_STACK: usize = 64 << 20;

/// Chooses tokens for one answer.
#[derive(Debug)]
pub struct Sampler {
    chain: LlamaSampler,
    grammar: Option<Grammar>,
    /// Tokens that must not come.
    banned: Vec<Token>,
    candidates: LlamaTokenDataArray,
    /// The probabilities are wanted.
    scored: bool,
}

/// A token that was chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Its number.
    pub token: Token,
    /// Natural logarithm of the probability that the model gives it, before any filter; NaN when it was not asked for.
    pub logprob: f32,
}

/// Below this a temperature is none: dividing by it gives infinities.
const LEAST_TEMPERATURE: f64 = 1e-6;

/// What an answer must keep to.
#[derive(Debug, Default)]
pub struct Rules {
    grammar: Option<Grammar>,
    /// Tokens that the grammar names by number.
    named: Vec<Token>,
    /// The schema that the reply is checked against at its end.
    pub contract: Option<Contract>,
}

impl Rules {
    /// Compiles the grammar or schema of a request; what cannot be enforced is refused here, before anything is computed.
    pub fn new(model: &Arc<Model>, options: &TextOptions) -> Result<Self> {
        let refused = |error: tenon_llama_text::Error| Error::options(error.to_string());
        let contract = options.common.json_schema.as_ref().map(Contract::new).transpose().map_err(refused)?;
        let grammar = match (&options.common.grammar, &contract) {
            (None, None) => return Ok(Self::default()),
            (Some(grammar), _) => grammar.clone(),
            (None, Some(contract)) => {
                let schema = contract.text().to_owned();
                on_large_stack(move || schema_grammar(&schema))?
            }
        };
        let named = grammar_tokens(&grammar).map_err(refused)?;
        let model = model.clone();
        let grammar = on_large_stack(move || Grammar::new(&model, &grammar))?;
        Ok(Self { grammar: Some(grammar), named, contract })
    }
}

fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let thread = std::thread::Builder::new().name("tenon-llama-parse".into()).stack_size(PARSER_STACK).spawn(work);
    let thread = thread.map_err(|error| Error::out_of_memory(format!("no thread to read a grammar on: {error}")))?;
    thread.join().unwrap_or_else(|_| Err(Error::panic("the reader of a grammar panicked")))
}

impl Sampler {
    /// A sampler for an answer to `prompt` in a context of `context` tokens.
    pub fn new(model: &Model, options: &TextOptions, rules: &mut Rules, prompt: &[Token], context: usize) -> Self {
        let mut banned = model.suppressed();
        if options.ignore_eos {
            banned.extend((0..model.tokens() as Token).filter(|&token| model.ends(token)));
        }
        if rules.grammar.is_some() {
            // llama.cpp's grammar reads a control token as the text that it is written with, but it writes none: the
            // answer would miss what the grammar asks for.
            let silent = |token: &Token| !model.ends(*token) && !rules.named.contains(token);
            banned.extend(model.controls().into_iter().filter(silent));
        }
        let mut chain = chain(options, model.tokens() as i32, context as i32);
        chain.accept_many(prompt.iter().map(|&token| LlamaToken(token)));
        Self {
            chain,
            grammar: rules.grammar.take(),
            banned,
            candidates: LlamaTokenDataArray::new(Vec::with_capacity(model.tokens()), false),
            scored: options.common.tokens,
        }
    }

    /// Chooses the next token and takes it as written.
    pub fn choose(&mut self, logits: &[f32]) -> Result<Choice> {
        self.fill(logits)?;
        self.candidates.apply_sampler(&mut self.chain);
        let mut token = self.selected()?;
        if let Some(grammar) = &mut self.grammar {
            // Most choices fit, and asking about one token is much cheaper than about all.
            let mut one = [llama_token_data { id: token, logit: 1.0, p: 0.0 }];
            grammar.apply(&mut one)?;
            if one[0].logit == f32::NEG_INFINITY {
                token = self.choose_within_grammar(logits)?;
            }
        }
        self.chain.accept(LlamaToken(token));
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        Ok(Choice { token, logprob: if self.scored { logprob(logits, token) } else { f32::NAN } })
    }

    /// Sets the candidates to the whole vocabulary.
    fn fill(&mut self, logits: &[f32]) -> Result<()> {
        let data = &mut self.candidates.data;
        data.clear();
        data.extend(logits.iter().zip(0..).map(|(&logit, token)| LlamaTokenData::new(LlamaToken(token), logit, 0.0)));
        for &token in &self.banned {
            if let Some(candidate) = usize::try_from(token).ok().and_then(|index| data.get_mut(index)) {
                candidate.set_logit(f32::NEG_INFINITY);
            }
        }
        self.candidates.selected = None;
        self.candidates.sorted = false;
        // Samplers assert on scores that are no numbers.
        if logits.iter().any(|logit| logit.is_nan()) || !data.iter().any(|candidate| candidate.logit().is_finite()) {
            return Err(Error::backend("the model's output is not a number; the weights are damaged"));
        }
        Ok(())
    }

    fn choose_within_grammar(&mut self, logits: &[f32]) -> Result<Token> {
        self.fill(logits)?;
        let Some(grammar) = &mut self.grammar else { return self.selected() };
        let mut allowed: Vec<llama_token_data> = self
            .candidates
            .data
            .iter()
            .map(|candidate| llama_token_data { id: candidate.id().0, logit: candidate.logit(), p: 0.0 })
            .collect();
        grammar.apply(&mut allowed)?;
        if !allowed.iter().any(|candidate| candidate.logit.is_finite()) {
            return Err(Error::backend("the model has no token that the grammar allows here"));
        }
        self.candidates.data.clear();
        let changed = allowed.iter().map(|one| LlamaTokenData::new(LlamaToken(one.id), one.logit, 0.0));
        self.candidates.data.extend(changed);
        self.candidates.apply_sampler(&mut self.chain);
        self.selected()
    }

    fn selected(&self) -> Result<Token> {
        let token = self.candidates.selected_token().map(|token| token.0);
        token.ok_or_else(|| Error::internal("the samplers chose no token"))
    }
}

/// The filters in the order of llama.cpp's tools. Those that are off change nothing and are left out.
fn chain(options: &TextOptions, vocabulary: i32, context: i32) -> LlamaSampler {
    let common = &options.common;
    let seed = common.seed.unwrap_or_else(random_seed);
    let temperature = if common.temperature < LEAST_TEMPERATURE { 0.0 } else { common.temperature as f32 };
    if options.mirostat > 0 {
        let (tau, eta) = (options.mirostat_tau as f32, options.mirostat_eta as f32);
        let last = match options.mirostat {
            1 => LlamaSampler::mirostat(vocabulary, seed, tau, eta, 100),
            _ => LlamaSampler::mirostat_v2(seed, tau, eta),
        };
        return LlamaSampler::chain([LlamaSampler::temp(temperature), last], true);
    }
    let mut filters = Vec::new();
    let penalties = (common.repeat_penalty, common.frequency_penalty, common.presence_penalty);
    if penalties != (1.0, 0.0, 0.0) && common.repeat_last_n != 0 {
        let last = if common.repeat_last_n < 0 { context } else { common.repeat_last_n };
        let (repeat, frequency, presence) = (penalties.0 as f32, penalties.1 as f32, penalties.2 as f32);
        filters.push(LlamaSampler::penalties(vocabulary, last, repeat, frequency, presence));
    }
    if temperature <= 0.0 && options.typical_p >= 1.0 {
        // Every other filter keeps the most likely token, so that none needs to sort the vocabulary first.
        filters.push(LlamaSampler::greedy());
        return LlamaSampler::chain(filters, true);
    }
    if options.top_n_sigma > 0.0 {
        filters.push(LlamaSampler::top_n_sigma(options.top_n_sigma as f32));
    }
    if common.top_k > 0 {
        filters.push(LlamaSampler::top_k(common.top_k as i32));
    }
    if options.typical_p < 1.0 {
        filters.push(LlamaSampler::typical(options.typical_p as f32, 0));
    }
    if common.top_p < 1.0 {
        filters.push(LlamaSampler::top_p(common.top_p as f32, 0));
    }
    if common.min_p > 0.0 {
        filters.push(LlamaSampler::min_p(common.min_p as f32, 0));
    }
    filters.push(LlamaSampler::temp(temperature));
    filters.push(LlamaSampler::dist(seed));
    LlamaSampler::chain(filters, true)
}

/// A seed that differs each time; the highest number means "any" to llama.cpp.
fn random_seed() -> u32 {
    (RandomState::new().hash_one(std::time::Instant::now()) as u32).min(u32::MAX - 1)
}

/// The logarithm of a token's share of the softmax.
fn logprob(logits: &[f32], token: Token) -> f32 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let own = usize::try_from(token).ok().and_then(|index| logits.get(index));
    own.map_or(f32::NAN, |&logit| (f64::from(logit - highest) - sum.ln()) as f32)
}
