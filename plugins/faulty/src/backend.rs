//! The backend as it would be without faults, and those faults that the SDK has to catch: the panics.

use crate::faults::{EntryFault, LoadOptions, ModelFault, RunFault, RunOptions, hang};
use crate::tables;
use std::sync::Arc;
use tenon_plugin::{Backend, Call, Error, Input, Model, ModelFile, Result, Segment, Session};
use tenon_tasks::{
    AudioFormat, Description, FileRole, FinishReason, MemoryEstimate, MemoryParts, TaskDescription, schema_of, task,
};

/// The backend.
pub struct Faulty;

/// Its model and its session: what shall go wrong.
#[derive(Clone)]
pub struct Fault(Option<ModelFault>);

/// A session.
pub struct Open(Fault);

impl tenon_plugin::export::Exported for Faulty {
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn state() -> &'static tenon_plugin::export::State<Self> {
        static STATE: tenon_plugin::export::State<Faulty> = tenon_plugin::export::State::new();
        &STATE
    }
}

impl Backend for Faulty {
    const ID: &'static str = "faulty";
    const CAPS: u32 = tenon_plugin::CAP_CONCURRENT_SESSIONS;
    type Model = Fault;

    fn start() -> Result<Self> {
        match tables::asked() {
            Some(EntryFault::EntryError) => Err(Error::backend("the entry was asked to return an error")),
            Some(EntryFault::EntryPanic) => panic!("the entry was asked to panic"),
            _ => Ok(Faulty),
        }
    }

    fn describe(&self) -> Description {
        if tables::asked() == Some(EntryFault::DescribePanic) {
            panic!("the description was asked to panic");
        }
        let tasks = [task::TRANSCRIBE, task::GENERATE, task::EMBED];
        let describe = |task: &str| TaskDescription { task: task.to_owned(), schema: schema_of::<RunOptions>() };
        Description {
            summary: "misbehaves on request".into(),
            engine: concat!("faulty ", env!("CARGO_PKG_VERSION")).into(),
            tasks: tasks.into_iter().map(describe).collect(),
            load_schema: schema_of::<LoadOptions>(),
            files: vec![FileRole { role: "model".into(), required: false, many: true }],
            audio: Some(AudioFormat { rate: 16_000 }),
            devices: vec![],
        }
    }

    fn estimate(&self, _call: &Call, _files: &[ModelFile<'_>], options: &str) -> Result<MemoryEstimate> {
        let asked: LoadOptions = tenon_plugin::options(options)?;
        match asked.fault {
            Some(ModelFault::EstimatePanic) => panic!("the estimate was asked to panic"),
            Some(ModelFault::EstimateHuge) => {
                let huge = MemoryParts { weights: u64::MAX, cache: u64::MAX, ..MemoryParts::default() };
                Ok(MemoryEstimate::on_cpu(huge, huge))
            }
            _ => Err(Error::unsupported("nobody knows what a fault needs")),
        }
    }

    fn open(&self, _call: &Call, _files: &[ModelFile<'_>], options: &str) -> Result<Fault> {
        let asked: LoadOptions = tenon_plugin::options(options)?;
        match asked.fault {
            Some(ModelFault::OpenPanic) => panic!("opening was asked to panic"),
            Some(ModelFault::OpenHang) => hang(asked.seconds),
            _ => {}
        }
        Ok(Fault(asked.fault))
    }
}

impl Model for Fault {
    type Session = Open;

    fn session(self: &Arc<Self>, _call: &Call, _options: &str) -> Result<Open> {
        if self.0 == Some(ModelFault::SessionOpenPanic) {
            panic!("opening a session was asked to panic");
        }
        Ok(Open(Fault(self.0)))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        match self.0 {
            Some(ModelFault::ClosePanic) => panic!("closing was asked to panic"),
            Some(ModelFault::CloseHang) => hang(Some(60.0)),
            _ => {}
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The session's copy must not do what the model's is asked to do.
        match self.0.0.take() {
            Some(ModelFault::SessionClosePanic) => panic!("closing a session was asked to panic"),
            Some(ModelFault::SessionCloseHang) => hang(Some(60.0)),
            _ => {}
        }
    }
}

impl Session for Open {
    fn run(&mut self, call: &Call, task: &str, input: Input<'_>, options: &str) -> Result<()> {
        let asked: RunOptions = tenon_plugin::options(options)?;
        match asked.fault {
            Some(RunFault::Panic) => panic!("the run was asked to panic"),
            Some(RunFault::PanicTwice) => std::panic::panic_any(Bomb),
            Some(RunFault::Hang) => {
                // Who waits for it to hang hears when it does.
                call.progress(0.5);
                hang(asked.seconds);
            }
            _ => {}
        }
        match task {
            task::TRANSCRIBE => call.emit_segment(&Segment::new(0, 1_000_000, " all is well")),
            task::GENERATE => {
                call.emit_text("all is well")?;
                call.emit_finish(FinishReason::Stop, None)
            }
            _ => (0..input.texts().len()).try_for_each(|index| call.emit_embedding(index as u32, &[1.0, 0.0])),
        }
    }

    fn reset(&mut self, _call: &Call) -> Result<()> {
        match self.0.0 {
            Some(ModelFault::ResetPanic) => panic!("the reset was asked to panic"),
            Some(ModelFault::ResetError) => Err(Error::backend("the reset was asked to return an error")),
            _ => Ok(()),
        }
    }
}

/// A panic payload that panics again when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the payload of the panic panicked");
    }
}
