//! Packets to samples: symphonia's decoders and the Opus decoder behind one face.

use symphonia::core::audio::Channels as Layout;
use symphonia::core::codecs::audio::well_known as id;
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::packet::Packet;
use symphonia::core::units::{Duration, Timestamp};

use crate::error::{AudioError, Result};
use crate::opus::OpusDecoder;
use crate::pcm::Layout as Pcm;

/// Short names of the codecs, for [`crate::Info`].
const NAMES: &[(AudioCodecId, &str)] = &[
    (id::CODEC_ID_FLAC, "flac"),
    (id::CODEC_ID_MP1, "mp1"),
    (id::CODEC_ID_MP2, "mp2"),
    (id::CODEC_ID_MP3, "mp3"),
    (id::CODEC_ID_AAC, "aac"),
    (id::CODEC_ID_ALAC, "alac"),
    (id::CODEC_ID_VORBIS, "vorbis"),
    (id::CODEC_ID_OPUS, "opus"),
    (id::CODEC_ID_ADPCM_MS, "adpcm_ms"),
    (id::CODEC_ID_ADPCM_IMA_WAV, "adpcm_ima_wav"),
    (id::CODEC_ID_ADPCM_IMA_QT, "adpcm_ima_qt"),
    (id::CODEC_ID_AC3, "ac3"),
    (id::CODEC_ID_EAC3, "eac3"),
    (id::CODEC_ID_DCA, "dts"),
    (id::CODEC_ID_PCM_S16LE, "pcm_s16le"),
    (id::CODEC_ID_PCM_S16BE, "pcm_s16be"),
    (id::CODEC_ID_PCM_S24LE, "pcm_s24le"),
    (id::CODEC_ID_PCM_S24BE, "pcm_s24be"),
    (id::CODEC_ID_PCM_S32LE, "pcm_s32le"),
    (id::CODEC_ID_PCM_S32BE, "pcm_s32be"),
    (id::CODEC_ID_PCM_F32LE, "pcm_f32le"),
    (id::CODEC_ID_PCM_F32BE, "pcm_f32be"),
    (id::CODEC_ID_PCM_F64LE, "pcm_f64le"),
    (id::CODEC_ID_PCM_U8, "pcm_u8"),
    (id::CODEC_ID_PCM_ALAW, "pcm_alaw"),
    (id::CODEC_ID_PCM_MULAW, "pcm_mulaw"),
];

/// A codec's short name.
pub(crate) fn name_of(codec: AudioCodecId) -> &'static str {
    NAMES.iter().find(|(id, _)| *id == codec).map_or("unknown", |(_, name)| name)
}

/// What one packet gave.
pub(crate) struct Decoded<'a> {
    /// Interleaved samples.
    pub(crate) samples: &'a [f32],
    pub(crate) rate: u32,
    pub(crate) channels: u16,
}

impl Decoded<'_> {
    pub(crate) fn frames(&self) -> u64 {
        self.samples.len() as u64 / u64::from(self.channels.max(1))
    }
}

enum Inner {
    Symphonia(Box<dyn AudioDecoder>),
    Opus(OpusDecoder),
    Pcm(Pcm, u32, u16),
}

/// One stream's decoder.
pub(crate) struct Codec {
    inner: Inner,
    samples: Vec<f32>,
}

impl Codec {
    /// A decoder for what a container says.
    pub(crate) fn new(params: &AudioCodecParameters) -> Result<Self> {
        let name = name_of(params.codec);
        let inner = if params.codec == id::CODEC_ID_OPUS {
            Inner::Opus(OpusDecoder::new(params.extra_data.as_deref().unwrap_or_default())?)
        } else {
            Inner::Symphonia(
                symphonia::default::get_codecs()
                    .make_audio_decoder(params, &AudioDecoderOptions::default().verify(true))
                    .map_err(|e| match e {
                        SymphoniaError::Unsupported(_) => {
                            AudioError::unsupported(format!("the codec {name} cannot be decoded here: {e}"))
                        }
                        e => AudioError::malformed(format!("the header of the {name} stream: {e}")),
                    })?,
            )
        };
        Ok(Self { inner, samples: Vec::new() })
    }

    /// A decoder for samples that are not compressed.
    pub(crate) fn pcm(layout: Pcm, rate: u32, channels: u16) -> Self {
        Self { inner: Inner::Pcm(layout, rate, channels), samples: Vec::new() }
    }

    /// Whether all that was decoded agrees with the header's checksum; `None` where there is none.
    pub(crate) fn verified(&mut self) -> Option<bool> {
        match &mut self.inner {
            Inner::Symphonia(decoder) => decoder.finalize().verify_ok,
            Inner::Opus(_) | Inner::Pcm(..) => None,
        }
    }

    /// Decodes one packet. The error says what is wrong with it; the next one may be decoded all the same.
    pub(crate) fn decode(&mut self, data: &[u8], duration: u64) -> std::result::Result<Decoded<'_>, String> {
        self.samples.clear();
        match &mut self.inner {
            Inner::Opus(opus) => {
                opus.decode(data, &mut self.samples)?;
                Ok(Decoded { samples: &self.samples, rate: crate::opus::RATE, channels: opus.channels() })
            }
            &mut Inner::Pcm(layout, rate, channels) => {
                let whole = data.len() - data.len() % layout.bytes();
                layout.decode(&data[..whole], &mut self.samples);
                Ok(Decoded { samples: &self.samples, rate, channels })
            }
            Inner::Symphonia(_) => {
                self.decode_packet(&Packet::new(0, Timestamp::new(0), Duration::new(duration), data))
            }
        }
    }

    /// As [`Codec::decode`], for a packet of symphonia's own, which may ask for trimming.
    pub(crate) fn decode_packet(&mut self, packet: &Packet) -> std::result::Result<Decoded<'_>, String> {
        let decoder = match &mut self.inner {
            Inner::Opus(_) | Inner::Pcm(..) => return self.decode(&packet.data, 0),
            Inner::Symphonia(decoder) => decoder,
        };
        match decoder.decode(packet) {
            Ok(buffer) => {
                let spec = buffer.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count() as u16);
                buffer.copy_to_vec_interleaved(&mut self.samples);
                Ok(Decoded { samples: &self.samples, rate, channels })
            }
            Err(e) => {
                decoder.reset();
                Err(e.to_string())
            }
        }
    }
}

/// Codec parameters for a stream whose container this crate reads itself.
pub(crate) fn params(codec: AudioCodecId, rate: u32, channels: u16, extra: &[u8]) -> AudioCodecParameters {
    let mut params = AudioCodecParameters::new();
    params.for_codec(codec).with_extra_data(extra.into());
    if rate > 0 {
        params.with_sample_rate(rate);
    }
    if channels > 0 {
        params.with_channels(Layout::Discrete(channels));
    }
    params
}
