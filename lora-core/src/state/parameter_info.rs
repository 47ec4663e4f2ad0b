//! What is known of a parameter without its value.

/// One floating-point parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Burn's path, as in records: `encoder.layer.0.norm.gamma`.
    pub path: String,
    /// The name in a PyTorch checkpoint: `encoder.layer.0.norm.weight`.
    pub name: String,
    /// The shape in a PyTorch checkpoint.
    pub shape: Vec<usize>,
    /// Whether the checkpoint's layout is the transpose of ours.
    pub transposed: bool,
    /// The type of the module that owns it (`Linear`, `LayerNorm`, …).
    pub owner: String,
    /// Whether it gets a gradient in training.
    pub trainable: bool,
    /// What it is to the adapters.
    pub role: Role,
    /// The adapter it belongs to; `None` for the base's own parameters.
    pub adapter: Option<String>,
}

/// What a parameter is to the adapters of its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The base model's own.
    Base,
    /// An adapter's factor nearest the input: PEFT's `lora_A` or `lora_embedding_A`.
    LoraA,
    /// An adapter's factor nearest the output: PEFT's `lora_B` or `lora_embedding_B`.
    LoraB,
    /// DoRA's magnitudes: PEFT's `lora_magnitude_vector`.
    Magnitude,
    /// An adapter's own copy of a parameter that `modules_to_save` means.
    Saved,
}

impl ParameterInfo {
    /// The path of the base's parameter that this one is, or is attached to.
    pub fn base_path(&self) -> &str {
        let attached = match self.role {
            Role::Base => return &self.path,
            Role::Saved => 2,
            Role::LoraA | Role::LoraB | Role::Magnitude => 3,
        };
        let mut path = self.path.as_str();
        for _ in 0..attached {
            path = path.rsplit_once('.').map_or("", |(rest, _)| rest);
        }
        path
    }

    /// The path of the base's module that owns the parameter, or the one it is attached to; empty
    /// for the root.
    pub fn module(&self) -> &str {
        self.base_path()
            .rsplit_once('.')
            .map_or("", |(module, _)| module)
    }

    /// Whether it is one of an adapter's low-rank parameters: a factor or DoRA's magnitudes.
    pub fn is_lora(&self) -> bool {
        matches!(self.role, Role::LoraA | Role::LoraB | Role::Magnitude)
    }

    /// The number of values.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether this is a linear layer's weight, by the type of its owner.
    pub fn is_linear(&self) -> bool {
        self.role == Role::Base && is_linear_owner(&self.owner) && self.path.ends_with("weight")
    }

    /// Whether this is an embedding table, by the type of its owner.
    pub fn is_embedding(&self) -> bool {
        self.role == Role::Base && is_embedding_owner(&self.owner) && self.path.ends_with("weight")
    }
}

fn is_linear_owner(owner: &str) -> bool {
    matches!(owner, "Linear" | "LoraLinear" | "LoraConv1D")
}

/// Whether PyTorch holds the weights of such a layer as `[out, in]`.
pub(super) fn is_transposed_owner(owner: &str) -> bool {
    is_linear_owner(owner) && owner != "LoraConv1D"
}

pub(super) fn is_embedding_owner(owner: &str) -> bool {
    matches!(owner, "Embedding" | "LoraEmbedding")
}
