//! What of a GGUF file decides how much memory its model needs: the sizes of its tensors and the shape of its layers.

/// A tensor as its entry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Number of its type, as ggml counts them.
    pub kind: u32,
    /// Elements in each dimension, the fastest first.
    pub dimensions: Vec<u64>,
    /// Bytes of its data.
    pub bytes: u64,
}

impl Tensor {
    /// Elements of the second dimension.
    pub fn rows(&self) -> u64 {
        self.dimensions.get(1).copied().unwrap_or(1)
    }
}

/// The hyperparameters that decide about memory. Every number is within what the loader accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Tokens that it was trained with.
    pub context: u64,
    /// Width of a token between layers.
    pub width: u64,
    /// Width of the widest feed-forward part that one token goes through.
    pub hidden: u64,
    /// Heads of the queries, of the layer that has most.
    pub heads: u64,
    /// Heads of keys and values of each layer; 0 where a layer keeps none.
    pub key_heads: Vec<u64>,
    /// Numbers of a key.
    pub key_length: u64,
    /// Numbers of a value.
    pub value_length: u64,
    /// It is made to give one vector for a text.
    pub pools: bool,
    /// Numbers that a layer without keys keeps of the past, whatever its length; 0 for models with keys alone.
    pub state: u64,
}

impl Shape {
    /// Numbers of the keys and of the values of one token, over all layers.
    pub fn cached(&self) -> (u64, u64) {
        let heads = self.key_heads.iter().fold(0, |sum: u64, heads| sum.saturating_add(*heads));
        (heads.saturating_mul(self.key_length), heads.saturating_mul(self.value_length))
    }

    /// Layers that keep no keys.
    pub fn recurrent_layers(&self) -> u64 {
        self.key_heads.iter().filter(|heads| **heads == 0).count() as u64
    }
}
