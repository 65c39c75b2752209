//! Malformed model files, the whole corpus again and again, each in a worker of its own.

use crate::home::Home;
use crate::stage::Campaign;
use crate::strike::PAUSE;
use crate::{Outcome, life};
use std::path::Path;
use std::time::Duration;
use tenon::{AudioSource, Engine, Error, ErrorKind, Load, Options, Request};
use tenon_fault_tests::random::Random;
use tenon_precheck::hostile::{Sample, ggml_corpus, gguf_corpus};

/// The file name of the workers' program.
const PROGRAM: &str = "w-hostile";
/// Of a request: what a damaged model says may be endless.
const DEADLINE: Duration = Duration::from_secs(5);

/// Loads files until the campaign is over: those of both formats in turn, in the order of the seed's corpora.
pub fn run(campaign: &Campaign, home: &Home) -> Outcome<()> {
    let whisper = std::fs::read(home.shipped_file("commands-en-q5_0.bin"))?;
    let llama = std::fs::read(home.shipped_file("intents-en-q8_0.gguf"))?;
    let engine = home.engine(PROGRAM)?;
    let mut random = Random::new(campaign.seed, "hostile");
    while !campaign.is_over() {
        let mut ggml = ggml_corpus(&whisper, campaign.seed).fuse();
        let mut gguf = gguf_corpus(&llama, campaign.seed).fuse();
        loop {
            let pair = [("whisper", ggml.next()), ("llama", gguf.next())];
            if campaign.is_over() || pair.iter().all(|(_, sample)| sample.is_none()) {
                break;
            }
            for (backend, sample) in pair {
                if let Some(sample) = sample {
                    std::thread::sleep(random.time_below(PAUSE / 2));
                    let _works = campaign.scarcity.works.read();
                    load(campaign, home, &engine, backend, &sample)?;
                }
            }
        }
    }
    life::close(campaign, &engine, PROGRAM);
    Ok(())
}

/// Loads one file and, where it can be loaded, asks it something. Everything but a worker that died by itself is as good
/// as anything else; and what becomes of that is this process's concern alone.
fn load(campaign: &Campaign, home: &Home, engine: &Engine, backend: &str, sample: &Sample) -> Outcome<()> {
    let file = home.path("models").join("hostile");
    std::fs::write(&file, &sample.bytes)?;
    let kind = match ask(home, engine, backend, &file)? {
        Ok(()) => "loaded",
        Err(error) if error.kind() == ErrorKind::WorkerDied => {
            eprintln!("{backend} {}: {error}", sample.name);
            "worker died"
        }
        Err(error) if error.kind() == ErrorKind::Internal => {
            campaign.report.broken(format!("{backend} {}: {error:?}", sample.name));
            "broken"
        }
        Err(_) => "refused",
    };
    campaign.report.fault(format!("hostile {backend} {kind}"));
    Ok(())
}

fn ask(home: &Home, engine: &Engine, backend: &str, file: &Path) -> Outcome<Result<(), Error>> {
    // An empty file: no manifest may name one.
    let Ok(manifest) = home.manifest_of_file(backend, file) else {
        return Ok(Err(Error::new(ErrorKind::Manifest, "the manifest is refused")));
    };
    let mut options = Options::new();
    let request = if backend == "whisper" {
        options.set("language", "en").set("audio_ctx", 512).set("beam_size", 1).set("no_fallback", true);
        Request::transcribe(AudioSource::mono(vec![0.0; 16_000], 16_000))
    } else {
        options.set("max_tokens", 2);
        Request::generate("turn the light on")
    };
    let request = request.options(options).deadline(DEADLINE);
    let session = engine.load_manifest(manifest, Load::new()).and_then(|model| model.session());
    Ok(session.and_then(|mut session| session.run(&request)).map(drop))
}
