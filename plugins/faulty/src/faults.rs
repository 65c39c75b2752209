//! The names of the faults. They are the choices of the options, so `tenon plugin info faulty` lists them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What goes wrong at load: the value of the environment variable `TENON_FAULTY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryFault {
    /// The entry returns an error.
    EntryError,
    /// The entry panics.
    EntryPanic,
    /// The entry returns a status that does not exist.
    EntryUnknownStatus,
    /// The entry returns success and hands out nothing.
    EntryNullOut,
    /// The entry never returns in good time.
    EntryHang,
    /// The plugin says that it was built for version 2 of the contract.
    WrongMajor,
    /// The plugin's table is too short.
    ShortPlugin,
    /// The plugin's table is too long.
    LongPlugin,
    /// The plugin has no id.
    NullId,
    /// The plugin's id is not UTF-8.
    BrokenId,
    /// The plugin has another id than its sidecar.
    OtherId,
    /// The plugin has no function to ask for interfaces.
    NullGetInterface,
    /// The plugin does not know the backend interface.
    NoBackend,
    /// The backend's table is too short.
    ShortBackend,
    /// A required function of the backend is missing.
    NullSlot,
    /// The description never comes.
    DescribeNothing,
    /// The description is not JSON.
    DescribeNoJson,
    /// The description panics.
    DescribePanic,
    /// The table for estimates is too short.
    ShortMemory,
    /// The function that estimates is missing.
    NullEstimate,
}

/// What goes wrong with a model or session: the load option `fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelFault {
    /// The estimate panics.
    EstimatePanic,
    /// The estimate never comes.
    EstimateNothing,
    /// The estimate is not JSON.
    EstimateNoJson,
    /// The estimate is larger than every number.
    EstimateHuge,
    /// Opening panics.
    OpenPanic,
    /// Opening returns success and no model.
    OpenNull,
    /// Opening returns a status that does not exist.
    OpenUnknownStatus,
    /// Opening ends with an error without a message.
    OpenErrorWithoutMessage,
    /// Opening takes `seconds` and does not look at the cancel flag.
    OpenHang,
    /// Closing panics.
    ClosePanic,
    /// Closing takes a minute.
    CloseHang,
    /// Opening a session panics.
    SessionOpenPanic,
    /// Opening a session returns success and no session.
    SessionOpenNull,
    /// Resetting a session panics.
    ResetPanic,
    /// Resetting a session ends with an error.
    ResetError,
    /// Closing a session panics.
    SessionClosePanic,
    /// Closing a session takes a minute.
    SessionCloseHang,
}

/// What goes wrong with a request: the request option `fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunFault {
    /// Panics.
    Panic,
    /// Panics with a payload that panics again when it is dropped.
    PanicTwice,
    /// Returns a status that does not exist.
    UnknownStatus,
    /// Returns a negative status.
    NegativeStatus,
    /// Returns success without having emitted anything.
    Nothing,
    /// Ends with an error without a message.
    ErrorWithoutMessage,
    /// Ends with an error whose message is not UTF-8.
    ErrorBrokenMessage,
    /// Ends with an error whose message has 8 MiB.
    ErrorHugeMessage,
    /// Emits NULL.
    NullItem,
    /// Emits an item without a payload.
    NullPayload,
    /// Emits an item of an unknown kind.
    UnknownKind,
    /// Emits an item of a kind that is for input only.
    InputKind,
    /// Emits an item of another size than its kind has.
    WrongSize,
    /// Emits an item whose payload is not aligned.
    MisalignedPayload,
    /// Emits text that is not UTF-8 and never will be.
    BrokenText,
    /// Emits a text of SIZE_MAX bytes.
    EndlessText,
    /// Emits a text at NULL with a length.
    NullText,
    /// Emits a segment whose text is not UTF-8.
    SegmentBrokenText,
    /// Emits a segment that ends before it starts, and starts before the audio.
    SegmentNegativeTimes,
    /// Emits a segment that says it has 4294967295 words.
    SegmentEndlessWords,
    /// Emits a segment with words at NULL.
    SegmentNullWords,
    /// Emits a segment whose confidence is 7.
    SegmentOddConfidence,
    /// Emits an embedding with values that are not numbers.
    EmbeddingNotANumber,
    /// Emits an embedding of 2^63 values.
    EmbeddingEndless,
    /// Emits an embedding for a text that was not there.
    EmbeddingOddIndex,
    /// Emits usage with negative times.
    UsageNegative,
    /// Emits a document of an unknown name.
    UnknownDocument,
    /// Emits a document that is not JSON.
    DocumentNoJson,
    /// Emits a `finish` document of another shape.
    DocumentOddShape,
    /// Reports progress that is not a number, and beyond the end.
    OddProgress,
    /// Leaves a thread behind that emits, fails and asks after the call has returned.
    EmitAfterReturn,
    /// Goes on emitting after the host said stop.
    EmitAfterStop,
    /// Emits pieces without end until the host says stop.
    Flood,
    /// Takes `seconds` and does not look at the cancel flag.
    Hang,
    /// Is cancelled and returns success all the same.
    IgnoreCancel,
    /// Calls abort().
    Abort,
    /// Writes to address 8.
    Segfault,
    /// Ends the process with exit code 77.
    Exit,
    /// Recurses until the stack ends.
    StackOverflow,
    /// Takes memory without end. Where nothing stops it at 2 GiB it gives it back and ends with an error.
    Leak,
}

/// The load options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoadOptions {
    /// What shall go wrong with the model and its sessions.
    pub fault: Option<ModelFault>,
    /// How long what hangs does so.
    #[schemars(range(min = 0.0, max = 60.0))]
    pub seconds: Option<f64>,
}

/// The request options.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RunOptions {
    /// What shall go wrong with the request.
    pub fault: Option<RunFault>,
    /// How long what hangs does so.
    #[schemars(range(min = 0.0, max = 60.0))]
    pub seconds: Option<f64>,
}

/// How long something hangs: long enough to miss a deadline, short enough for a test.
pub fn hang(seconds: Option<f64>) {
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds.unwrap_or(2.0).clamp(0.0, 60.0)));
}
