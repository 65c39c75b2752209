//! Finds raw MPEG audio and ADTS frames in bytes that have no header.

/// What kind of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// MPEG 1, 2 or 2.5, layer I to III.
    Mpeg,
    /// AAC with ADTS headers.
    Adts,
}

/// Where the first frame stands: its header must be followed by others of the same kind, unless the bytes end there.
pub(crate) fn find(head: &[u8]) -> Option<(usize, Kind)> {
    (0..head.len().saturating_sub(6)).find_map(|at| {
        let (kind, len, same) = header(&head[at..])?;
        let mut next = at + len;
        // Four frames in a row at an offset, two at the very start: noise has such bytes now and then.
        for seen in 1..(if at == 0 { 2 } else { 4 }) {
            if next + 6 > head.len() {
                return (at == 0 || seen > 1).then_some((at, kind));
            }
            let (k, l, s) = header(&head[next..])?;
            if (k, s) != (kind, same) {
                return None;
            }
            next += l;
        }
        Some((at, kind))
    })
}

/// How long the frame is that begins here.
pub(crate) fn length(frame: &[u8]) -> Option<usize> {
    header(frame).map(|(_, len, _)| len)
}

/// Whether two frames, of which one may be cut after its first byte, are of the same version and layer.
pub(crate) fn alike(a: &[u8], b: &[u8]) -> bool {
    let bits = |frame: &[u8]| frame.get(1).map(|byte| byte & 0xfe);
    a.first() == b.first() && bits(a) == bits(b)
}

/// Kind, length in bytes, and the bits that all frames of a stream share.
fn header(b: &[u8]) -> Option<(Kind, usize, u32)> {
    let &[b0, b1, b2, b3, b4, b5, ..] = b else { return None };
    if b0 != 0xff || b1 & 0xe0 != 0xe0 {
        return None;
    }
    if b1 & 0xf6 == 0xf0 {
        let len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
        let rate = b2 >> 2 & 15;
        return (len >= 8 && rate < 13).then_some((Kind::Adts, len, u32::from(rate) << 8 | u32::from(b1)));
    }
    let len = mpeg_len(b1, b2)?;
    Some((Kind::Mpeg, len, u32::from(b1 & 0xfe) << 8 | u32::from(b2 & 0x0c)))
}

fn mpeg_len(b1: u8, b2: u8) -> Option<usize> {
    const RATES: [usize; 3] = [44_100, 48_000, 32_000];
    const KBIT: [[usize; 14]; 5] = [
        [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
        [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
        [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
        [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
        [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    ];
    let (version, layer) = (b1 >> 3 & 3, b1 >> 1 & 3);
    let first = version == 3;
    let table = match (first, layer) {
        (true, 3) => 0,
        (true, 2) => 1,
        (true, 1) => 2,
        (false, 3) => 3,
        (false, 1 | 2) => 4,
        _ => return None,
    };
    let halvings = match version {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return None,
    };
    let rate = RATES.get(usize::from(b2 >> 2 & 3))? >> halvings;
    let bits = KBIT[table].get(usize::from(b2 >> 4).checked_sub(1)?)? * 1000;
    let padding = usize::from(b2 >> 1 & 1);
    Some(match layer {
        3 => (12 * bits / rate + padding) * 4,
        1 if !first => 72 * bits / rate + padding,
        _ => 144 * bits / rate + padding,
    })
}
