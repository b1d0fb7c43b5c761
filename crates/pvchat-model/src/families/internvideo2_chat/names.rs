//! The names of the published checkpoints.

use crate::families::Group;

/// From the names of the public checkpoints to those of [`VilmParameters`](crate::vilm::VilmParameters), applied one
/// after another. Our own names pass through unchanged, so that one loader reads both.
///
/// Read are: the checkpoints of PVChat and of InternVideo2-Chat with PEFT's adapters around the language model
/// (`lm.base_model.model.`; from PEFT 0.7 on the frozen weight is called `base_layer`), and plain Mistral files.
pub const RENAMES: &[(&str, &str)] = &[
    (r"^(query_tokens|extra_query_tokens|personal_query_tokens)$", "answer.$1"),
    (r"^project_up\.", "answer.project_up."),
    (r"^qformer\.(bert\.)?(embeddings|encoder)\.", "answer.qformer.$2."),
    (r"^(answer\.qformer\..*attention)\.self\.", "$1.heads."),
    (r"^(answer\.qformer\..*)\bLayerNorm\.", "${1}norm."),
    (r"^lm\.base_model\.model\.(model\.)?", "answer.lm."),
    (r"^model\.(embed_tokens|layers|norm)\.", "answer.lm.$1."),
    (r"^lm_head\.", "answer.lm.lm_head."),
    (r"^(answer\.lm\..*(_proj|lm_head))\.(base_layer\.)?weight$", "$1.base.weight"),
    (r"^(answer\.lm\..*)\.lora_A\.(default\.)?weight$", "$1.lora.a.weight"),
    (r"^(answer\.lm\..*)\.lora_B\.(default\.)?weight$", "$1.lora.b.weight"),
];

/// Whether a public name has no place in this program, on purpose.
///
/// - `project_down` is in the checkpoint and never used.
/// - `position_ids` counts from 0 to 511 and may be missing.
/// - `lm.lm_head` is a second head that fine-tuned files hold in addition to the one that is used.
pub fn is_ignored(public: &str) -> bool {
    public.starts_with("project_down.") || public.ends_with(".position_ids") || public == "lm.lm_head.weight"
}

/// Groups of parameters that a checkpoint may lack, each as a whole: they are then new.
pub const OPTIONAL: &[Group] = &[
    ("personal query tokens", |name| name == "answer.personal_query_tokens"),
    ("routers", |name| name.starts_with("answer.qformer.") && name.contains(".router_alpha.")),
    ("adapters of the language model's layers", |name| name.starts_with("answer.lm.layers.") && name.contains(".lora.")),
    // Growing the vocabulary drops it from fine-tuned files.
    ("adapter of the language model's head", |name| name.starts_with("answer.lm.lm_head.lora.")),
];

/// The prefix of the published names of the parts between encoder and language model; the rest of these parts exists only here.
const PUBLISHED: [&str; 4] = ["query_tokens", "extra_query_tokens", "personal_query_tokens", "project_up."];

/// The public name of one of our parameters (in PyTorch's words); ours where there is no public one.
pub fn public_name(ours: &str) -> String {
    let Some(rest) = ours.strip_prefix("answer.") else { return ours.into() };
    if let Some(rest) = rest.strip_prefix("qformer.") {
        let rest = rest.replace("attention.heads.", "attention.self.").replace(".norm.", ".LayerNorm.");
        return format!("qformer.bert.{rest}");
    }
    let Some(rest) = rest.strip_prefix("lm.") else {
        let published = PUBLISHED.iter().any(|start| rest.starts_with(start));
        return if published { rest } else { ours }.into();
    };
    let inside = if rest.starts_with("lm_head.") { "" } else { "model." };
    let rest = rest
        .replace(".base.weight", ".weight")
        .replace(".lora.a.weight", ".lora_A.default.weight")
        .replace(".lora.b.weight", ".lora_B.default.weight");
    format!("lm.base_model.model.{inside}{rest}")
}
