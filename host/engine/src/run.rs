//! One request from its check to its answer: options, audio, threads, the backend's session, and the call.

use crate::answer::{Answer, AudioDamage, Timings};
use crate::cancel::{CancelToken, StopSigns};
use crate::collect::{Collected, Collector};
use crate::error::{Error, ErrorKind, Result};
use crate::feed::{self, BlockFeed, Blocks, Incoming, LiveInput, Whole};
use crate::model::ModelInner;
use crate::plugin::OpenSession;
use crate::plugin::call::{self, Item};
use crate::plugin::host::Call;
use crate::request::{AudioSource, Input, Request};
use crate::session::Slot;
use crate::stream::{Channel, Outlet};
use crate::threads::{Lease, Want, budget, machine};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tenon_abi::CAP_LIVE_INPUT;
use tenon_audio::Wanted;
use tenon_tasks::{Options, task};

/// A request that was checked, and everything that its thread needs.
pub(crate) struct Run {
    model: Arc<ModelInner>,
    task: String,
    input: Input,
    preset: Option<String>,
    options: Options,
    pub stop: StopSigns,
    started: Instant,
    blocks: Option<Arc<Blocks>>,
}

impl Run {
    /// Checks a request against the model: task, preset, options and kind of input. Nothing has run yet.
    pub(crate) fn prepare(model: &Arc<ModelInner>, request: Request, token: CancelToken) -> Result<Self> {
        let started = Instant::now();
        let Request { task, input, options, preset, deadline, cancel } = request;
        let (preset, options) = layered(model, &task, preset, &options)?;
        check_input(model, &task, &input)?;
        let stop = StopSigns {
            tokens: [Some(token), cancel].into_iter().flatten().collect(),
            shutdown: Some(model.shutdown.clone()),
            deadline: deadline.and_then(|after| started.checked_add(after)),
        };
        let blocks = match &input {
            Input::Audio(AudioSource::Live) => Some(Blocks::new(model.rate()?)),
            _ => None,
        };
        Ok(Self { model: Arc::clone(model), task, input, preset, options, stop, started, blocks })
    }

    /// The way in for live audio, where the request takes it.
    pub(crate) fn live_input(&self) -> Result<Option<LiveInput>> {
        let Some(blocks) = &self.blocks else { return Ok(None) };
        Ok(Some(LiveInput::new(blocks, Wanted::mono(self.model.rate()?), self.stop.clone())))
    }

    /// Runs on a session. Must be called on a thread with the stack that the contract promises.
    pub(crate) fn execute(mut self, slot: &mut Slot, channel: &Arc<Channel>, listened: bool) -> Result<Answer> {
        self.stop.check()?;
        let mut audio = Audio::default();
        self.prepare_audio(&mut audio)?;
        let queued = Instant::now();
        let alone = self.model.alone(&self.stop)?.map(Arc::new);
        alone.iter().for_each(|inside| channel.holds.place(inside));
        let waited = queued.elapsed();
        // Before there are threads: a worker may have to be started, and others can compute meanwhile.
        slot.make_ready(&self.model, &self.stop)?;
        let queued = Instant::now();
        let lease = Arc::new(self.lease_threads()?);
        channel.holds.threads(&lease);
        let queue = waited + queued.elapsed();
        let outlet = listened.then(|| self.outlet(channel, &lease));
        let texts = if let Input::Texts(texts) = &self.input { texts.len() } else { 0 };
        let collector = Collector::new(self.started, texts, outlet);
        let call = self.call(&collector, &audio, &lease, listened.then_some(channel))?;
        let began = Instant::now();
        let ran = slot.run(|session| self.run_items(session, &audio, call));
        let run = began.elapsed();
        audio.end();
        ran?;
        let collected = collector.finish()?;
        collected.complete()?;
        let timings = Timings { queue, audio: audio.work, run, ..Timings::default() };
        Ok(self.answer(collected, audio.damage, timings))
    }

    /// Starts to decode audio that the backend takes as it comes; gathers what it takes whole.
    fn prepare_audio(&mut self, audio: &mut Audio) -> Result<()> {
        let Input::Audio(source) = &self.input else { return Ok(()) };
        let wanted = Wanted::mono(self.model.rate()?);
        let as_it_comes = self.model.plugin().caps() & CAP_LIVE_INPUT != 0;
        match source {
            AudioSource::Live => audio.incoming = self.blocks.clone().map(Incoming::live),
            AudioSource::Path(_) | AudioSource::Bytes(_) | AudioSource::Reader(_) if as_it_comes => {
                let Run { model, stop, .. } = self;
                audio.incoming = Some(Incoming::decoded(source, wanted, stop, &model.crew, model.patience)?);
            }
            _ => {
                let began = Instant::now();
                let Whole { samples, damage } = self.gather(source, wanted)?;
                (audio.samples, audio.damage, audio.work) = (Some(samples), damage, began.elapsed());
            }
        }
        Ok(())
    }

    /// All of it. What may hang is read on another thread, so that this one sees its stop signs.
    fn gather(&self, source: &AudioSource, wanted: Wanted) -> Result<Whole> {
        let Run { model, stop, .. } = self;
        match feed::may_hang(source) {
            true => Incoming::decoded(source, wanted, stop, &model.crew, model.patience)?.gather(wanted.rate, stop),
            false => feed::gather(source, wanted, stop),
        }
    }

    /// Leases threads and puts their number into the options of a backend that knows the option.
    fn lease_threads(&mut self) -> Result<Lease> {
        let known = self.model.schema(&self.task)?.field("threads").is_some();
        let asked = asked_threads(&self.options);
        let want = match asked.or(self.model.loaded_threads) {
            Some(count) => Want::Exactly(count),
            None if known => Want::UpTo(self.model.threads),
            // Without the option a backend computes on the thread that calls it.
            None => Want::UpTo(1),
        };
        let lease = budget().lease(want, &self.stop)?;
        if asked.is_none() && known {
            self.options.set("threads", self.model.loaded_threads.unwrap_or(lease.count()));
        }
        Ok(lease)
    }

    fn outlet(&self, channel: &Arc<Channel>, lease: &Arc<Lease>) -> Outlet {
        Outlet { channel: Arc::clone(channel), stop: self.stop.clone(), lease: Arc::clone(lease) }
    }

    fn call(
        &self,
        collector: &Collector,
        audio: &Audio,
        lease: &Arc<Lease>,
        channel: Option<&Arc<Channel>>,
    ) -> Result<Call> {
        let mut call = Call::new(self.stop.clone()).with_options(self.options.clone()).with_sink(collector.sink());
        if let Some(incoming) = &audio.incoming {
            let (blocks, lease) = (Arc::clone(incoming.blocks()), Arc::clone(lease));
            let feed = BlockFeed { blocks, stop: self.stop.clone(), lease, lent: false };
            call = call.with_feed(Box::new(feed), self.model.rate()?);
        }
        if let Some(channel) = channel.cloned() {
            call = call.with_progress(Box::new(move |fraction| channel.progress(fraction)));
        }
        Ok(call)
    }

    fn run_items(&self, session: &mut OpenSession, audio: &Audio, call: Call) -> Result<()> {
        let items: Vec<Item<'_>> = match &self.input {
            Input::Audio(_) => match &audio.samples {
                Some(samples) => vec![Item::Audio { samples, rate: self.model.rate()? }],
                None => Vec::new(),
            },
            Input::Prompt(text) => vec![Item::Text { role: "prompt", text }],
            Input::Messages(messages) => messages
                .iter()
                .map(|message| Item::Text { role: message.role.name(), text: &message.content })
                .collect(),
            Input::Texts(texts) => texts.iter().map(|text| Item::Text { role: "", text }).collect(),
        };
        session.run(&self.task, &items, call)
    }

    fn answer(self, collected: Collected, damage: Vec<AudioDamage>, timings: Timings) -> Answer {
        let mut provenance = self.model.provenance.clone();
        (provenance.preset, provenance.options) = (self.preset, self.options);
        let Collected { text, segments, tokens, language, embeddings, finish, usage, notes, first, .. } = collected;
        Answer {
            task: self.task,
            text,
            segments,
            tokens,
            language,
            embeddings: embeddings.into_iter().flatten().collect(),
            finish,
            usage,
            notes,
            damage,
            timings: Timings { load: self.model.take_load_time(), first, total: self.started.elapsed(), ..timings },
            provenance,
        }
    }
}

/// The audio of a request on its way.
#[derive(Default)]
struct Audio {
    /// All of it, for a backend that takes it whole and for samples in memory.
    samples: Option<Arc<[f32]>>,
    /// As it comes.
    incoming: Option<Incoming>,
    damage: Vec<AudioDamage>,
    work: Duration,
}

impl Audio {
    /// No more is wanted: ends what decodes it and notes what was lost and how long it took.
    fn end(&mut self) {
        if let Some(incoming) = self.incoming.take() {
            let (damage, work) = incoming.end();
            self.damage.extend(damage);
            self.work += work;
        }
    }
}

/// The request's options over those of its preset, checked. Without a preset's name, `default` where there is one.
fn layered(
    model: &ModelInner,
    task: &str,
    preset: Option<String>,
    asked: &Options,
) -> Result<(Option<String>, Options)> {
    let schema = model.schema(task)?;
    schema.check(asked).map_err(|problems| {
        let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let message = format!("model \"{}\", task {task}: {}", model.manifest.name, sentences.join("; "));
        let error = Error::new(ErrorKind::Options, message);
        problems.iter().fold(error, |error, problem| error.with_detail("option", &problem.option))
    })?;
    let name = preset.or_else(|| model.manifest.preset("default").map(|_| "default".to_owned()));
    let mut base = Options::new();
    if let Some(name) = &name {
        // A preset may serve several tasks; what this one does not know was checked against the others at load.
        model.preset(name)?.iter().filter(|(option, _)| schema.field(option).is_some()).for_each(|(option, value)| {
            base.set(option, value.clone());
        });
    }
    let options = schema.settled(asked.over(&base));
    check_threads(&options, model.most_threads)?;
    Ok((name, options))
}

/// The threads that options ask for, if they do.
pub(crate) fn asked_threads(options: &Options) -> Option<usize> {
    let count = options.get("threads").and_then(serde_json::Value::as_u64)?;
    Some(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Refuses more threads than there are cores, or than the engine was told to grant.
pub(crate) fn check_threads(options: &Options, most_granted: Option<usize>) -> Result<()> {
    let Some(count) = asked_threads(options) else { return Ok(()) };
    let cores = machine().logical_cores;
    let problem = match most_granted {
        Some(most) if count > most => format!("this engine was told to grant a request at most {most}"),
        _ if count > cores => format!("this process may use {cores} cores"),
        _ => return Ok(()),
    };
    let message = format!("{count} threads were asked for, and {problem}: ask for fewer");
    Err(Error::new(ErrorKind::Options, message).with_detail("option", "threads"))
}

fn check_input(model: &ModelInner, name: &str, input: &Input) -> Result<()> {
    let (fits, wants) = match name {
        task::TRANSCRIBE | task::TRANSLATE | task::DETECT_LANGUAGE => (matches!(input, Input::Audio(_)), "audio"),
        task::GENERATE => (matches!(input, Input::Prompt(_)), "a prompt"),
        task::CHAT => (matches!(input, Input::Messages(messages) if !messages.is_empty()), "messages"),
        task::EMBED => (matches!(input, Input::Texts(texts) if !texts.is_empty()), "texts"),
        _ => (true, "input"),
    };
    if !fits {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("task {name} wants {wants}, at least one of it")));
    }
    if let Input::Audio(source) = input {
        model.rate()?;
        let live = matches!(source, AudioSource::Live);
        if live && model.plugin().caps() & CAP_LIVE_INPUT == 0 {
            let message = format!("backend \"{}\" takes no live audio: give it a file", model.plugin().id());
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    Ok(())
}

/// Runs `body`, which calls the plugin, and turns a panic of the host's own code into an error.
pub(crate) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(call::host_panic(payload)))
}
