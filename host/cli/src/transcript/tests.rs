//! Golden files taken from whisper-cli 1.8.3, and round trips through parsers that share no code with the writers.

use super::*;
use proptest::prelude::*;

fn segment(start_ms: i64, end_ms: i64, text: &str) -> Segment {
    Segment {
        start_us: start_ms * 1000,
        end_us: end_ms * 1000,
        text: text.to_owned(),
        confidence: None,
        no_speech: None,
        words: Vec::new(),
        tokens: Vec::new(),
    }
}

fn commands() -> Vec<Segment> {
    vec![
        segment(200, 2200, " can you set an alarm for seven in the morning"),
        segment(2200, 4900, " switch the projector off"),
        segment(4900, 8200, " put batteries on my shopping list"),
    ]
}

fn write(segments: &[Segment], format: Format) -> String {
    let document = json!({"text": "x"});
    Transcript { segments, language: Some("en"), model: "m", translated: false, document: &document }.write(format)
}

#[test]
fn subtitles_and_tables_are_those_of_whisper_cli() {
    let segments = commands();
    assert_eq!(write(&segments, Format::Srt), include_str!("golden/commands.srt"));
    assert_eq!(write(&segments, Format::Vtt), include_str!("golden/commands.vtt"));
    assert_eq!(write(&segments, Format::Lrc), include_str!("golden/commands.lrc"));
    assert_eq!(write(&segments, Format::Csv), include_str!("golden/commands.csv"));
}

#[test]
fn text_is_trimmed_and_tabs_separate_columns_as_openai_whisper_writes_them() {
    let segments = commands();
    let lines = "can you set an alarm for seven in the morning\nswitch the projector off\n";
    assert!(write(&segments, Format::Txt).starts_with(lines));
    assert!(write(&segments, Format::Tsv).starts_with("start\tend\ttext\n200\t2200\tcan you set an alarm"));
}

#[test]
fn whisper_json_has_the_keys_and_values_of_whisper_cli() {
    let ours: Value = serde_json::from_str(&write(&commands(), Format::WhisperJson)).unwrap();
    let theirs: Value = serde_json::from_str(include_str!("golden/commands.json")).unwrap();
    assert_eq!(ours["transcription"], theirs["transcription"]);
    assert_eq!(ours["result"], theirs["result"]);
    assert_eq!(ours["params"]["translate"], theirs["params"]["translate"]);
}

#[test]
fn full_whisper_json_gives_the_tokens_with_probability_and_times() {
    let mut segments = vec![segment(0, 1000, " hi")];
    segments[0].tokens =
        vec![Token { id: 7, text: " hi".into(), logprob: Some(0.0), start_us: Some(20_000), end_us: Some(900_000) }];
    let json: Value = serde_json::from_str(&write(&segments, Format::WhisperJsonFull)).unwrap();
    let token = &json["transcription"][0]["tokens"][0];
    assert_eq!(token["id"], 7);
    assert_eq!(token["p"], 1.0);
    assert_eq!(token["timestamps"]["from"], "00:00:00,020");
    assert_eq!(token["offsets"]["to"], 900);
}

#[test]
fn minutes_of_lyrics_and_hours_of_subtitles_pass_their_digits() {
    let segments = [segment(3_600_000 * 101 + 61_005, 3_600_000 * 101 + 62_000, " late")];
    assert!(write(&segments, Format::Lrc).ends_with("[6061:01.00] late\n"));
    assert!(write(&segments, Format::Srt).contains("101:01:01,005 --> 101:01:02,000"));
}

#[test]
fn web_vtt_text_is_escaped() {
    let text = write(&[segment(0, 1, "a < b & c --> d > e")], Format::Vtt);
    assert!(text.contains("a &lt; b &amp; c --&gt; d > e\n"), "{text}");
}

#[test]
fn blank_segments_make_no_cue_and_do_not_count() {
    let segments = [segment(0, 1, " "), segment(1, 2, "\n"), segment(2, 3, " word")];
    assert!(write(&segments, Format::Srt).starts_with("1\n00:00:00,002"));
    assert_eq!(write(&segments, Format::Txt), "word\n");
}

#[test]
fn no_segments_make_an_empty_document_of_the_format() {
    assert_eq!(write(&[], Format::Txt), "");
    assert_eq!(write(&[], Format::Srt), "");
    assert_eq!(write(&[], Format::Vtt), "WEBVTT\n\n");
    assert_eq!(write(&[], Format::Csv), "start,end,text\n");
}

/// What a parser reads back: start and end in milliseconds, and the text.
type Read = Vec<(i64, i64, String)>;

fn read_clock(text: &str) -> i64 {
    let numbers: Vec<i64> = text.split([':', ',', '.']).map(|number| number.parse().unwrap()).collect();
    let [hours, minutes, seconds, ms] = numbers[..] else { panic!("{text}") };
    assert!(minutes < 60 && seconds < 60 && ms < 1000, "{text}");
    ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
}

fn read_timing(line: &str) -> (i64, i64) {
    let (start, end) = line.split_once(" --> ").unwrap();
    (read_clock(start), read_clock(end))
}

fn read_srt(text: &str) -> Read {
    let mut lines = text.split('\n');
    let mut read = Vec::new();
    while let Some(number) = lines.next().filter(|line| !line.is_empty()) {
        assert_eq!(number.parse::<usize>().unwrap(), read.len() + 1);
        let (start, end) = read_timing(lines.next().unwrap());
        read.push((start, end, lines.next().unwrap().to_owned()));
        assert_eq!(lines.next(), Some(""));
    }
    assert_eq!(lines.next(), None);
    read
}

fn read_vtt(text: &str) -> Read {
    let body = text.strip_prefix("WEBVTT\n\n").unwrap();
    let blocks = body.split_terminator("\n\n");
    let unescape = |text: &str| text.replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
    blocks
        .map(|block| {
            let (timing, payload) = block.split_once('\n').unwrap();
            assert!(!payload.contains("-->") && !payload.contains('<') && !payload.contains('\n'), "{payload}");
            let (start, end) = read_timing(timing);
            (start, end, unescape(payload))
        })
        .collect()
}

/// RFC 4180 with quoted fields, character by character.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut chars) = (false, text.chars().peekable());
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            c => field.push(c),
        }
    }
    assert!(!quoted && row.is_empty() && field.is_empty());
    rows
}

fn assert_orderly(read: &Read) {
    for cue in read {
        assert!(0 <= cue.0 && cue.0 <= cue.1, "{cue:?}");
    }
    for pair in read.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?}");
    }
}

fn any_segments() -> impl Strategy<Value = Vec<Segment>> {
    let time = prop_oneof![-5_000_000_i64..400_000_000_000, 0_i64..5_000_000];
    let text = prop_oneof!["\\PC{0,30}", "[ a-z<>&\",\n\t-]{0,20}", ".{0,12}"];
    proptest::collection::vec((time.clone(), time, text), 0..12).prop_map(|rows| {
        let segment = |(start_us, end_us, text): (i64, i64, String)| Segment {
            start_us,
            end_us,
            text,
            confidence: None,
            no_speech: None,
            words: Vec::new(),
            tokens: Vec::new(),
        };
        rows.into_iter().map(segment).collect()
    })
}

proptest! {
    #[test]
    fn subtitles_read_back_as_the_cues_in_order_without_overlap(segments in any_segments()) {
        let expected: Read = cues(&segments).into_iter().map(|cue| (cue.start_ms, cue.end_ms, cue.text)).collect();
        assert_orderly(&expected);
        prop_assert_eq!(&read_srt(&write(&segments, Format::Srt)), &expected);
        // A text that itself holds an entity cannot be told from an escaped one by this small parser.
        let plain = !expected.iter().any(|cue| cue.2.contains('&'));
        if plain {
            prop_assert_eq!(&read_vtt(&write(&segments, Format::Vtt)), &expected);
        }
    }

    #[test]
    fn tables_read_back_with_every_cue_in_its_row(segments in any_segments()) {
        let cues = cues(&segments);
        let rows = read_csv(&write(&segments, Format::Csv));
        prop_assert_eq!(rows.len(), cues.len() + 1);
        for (row, cue) in rows[1..].iter().zip(&cues) {
            prop_assert_eq!(row, &[cue.start_ms.to_string(), cue.end_ms.to_string(), cue.text.clone()]);
        }
        let tsv = write(&segments, Format::Tsv);
        for line in tsv.split_terminator('\n') {
            prop_assert_eq!(line.split('\t').count(), 3);
        }
    }

    #[test]
    fn no_segment_with_text_is_lost(segments in any_segments()) {
        let blank = |text: &str| text.replace('\0', " ").trim().is_empty();
        let with_text = segments.iter().filter(|segment| !blank(&segment.text)).count();
        prop_assert_eq!(cues(&segments).len(), with_text);
        prop_assert_eq!(write(&segments, Format::Lrc).split_terminator('\n').count(), with_text + 1);
    }
}
