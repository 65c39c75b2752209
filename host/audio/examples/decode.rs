//! Decodes a file (or standard input, for `-`) to raw 32-bit floats on standard output: `decode FILE [RATE]`.

use std::io::Write;

use tenon_audio::{Decoder, Source, Wanted};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("usage: decode FILE [RATE]")?;
    let rate = args.next().map_or(Ok(16_000), |rate| rate.parse())?;
    let source = match name.as_str() {
        "-" => Source::Reader(Box::new(std::io::stdin())),
        path => Source::Path(path.into()),
    };
    let mut decoder = Decoder::open(source, Wanted::mono(rate))?;
    eprintln!("{:?}", decoder.info());
    let (mut samples, mut out) = (Vec::new(), std::io::stdout().lock());
    while decoder.read(&mut samples)? {
        let bytes: Vec<u8> = samples.drain(..).flat_map(f32::to_le_bytes).collect();
        out.write_all(&bytes)?;
    }
    for damage in decoder.damage() {
        eprintln!("{damage}");
    }
    Ok(())
}
