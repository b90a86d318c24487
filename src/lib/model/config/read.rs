//! The fields of `config.json`, family by family; what is not implemented is refused by name.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Architecture, BUCKETS, Biases, Config, Form, HasBias, LayerAttention, Mlp, Norms, Positions,
    Rotary,
};
use crate::{
    model::VocabularyHead,
    nn::{Half, Span},
};

type Read<T> = std::result::Result<T, String>;

#[derive(Deserialize)]
struct Raw {
    model_type: String,
    vocab_size: usize,
    #[serde(alias = "dim")]
    hidden_size: usize,
    #[serde(alias = "n_layers")]
    num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
    layer_norm_eps: Option<f32>,
    norm_eps: Option<f32>,
    #[serde(alias = "activation")]
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    classifier_activation: Option<String>,
    position_embedding_type: Option<String>,
    pad_token_id: Option<u32>,
    tie_word_embeddings: Option<bool>,
    relative_attention_num_buckets: Option<usize>,
    rope_theta: Option<f32>,
    rope_scaling: Option<Scaling>,
    layer_norm_type: Option<String>,
    l0_head: Option<VocabularyHead>,
    #[serde(flatten)]
    modern: Modern,
    #[serde(flatten)]
    packed: Packed,
}

/// Fields of ModernBERT, those of transformers 4 and 5.
#[derive(Deserialize)]
struct Modern {
    layer_types: Option<Vec<String>>,
    global_attn_every_n_layers: Option<usize>,
    local_attention: Option<usize>,
    global_rope_theta: Option<f32>,
    local_rope_theta: Option<f32>,
    rope_parameters: Option<Value>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    norm_bias: Option<bool>,
    classifier_bias: Option<bool>,
    decoder_bias: Option<bool>,
}

/// Switches of gte, of which one way is implemented.
#[derive(Deserialize)]
struct Packed {
    pack_qkv: Option<bool>,
    logn_attention_scale: Option<bool>,
    logn_attention_clip1: Option<bool>,
}

#[derive(Deserialize)]
struct Scaling {
    #[serde(alias = "rope_type")]
    r#type: Option<String>,
    factor: Option<f32>,
    mixed_b: Option<f32>,
}

/// Rotary positions of transformers 5 where layers differ in them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    full_attention: Option<One>,
    sliding_attention: Option<One>,
}

/// Rotary positions of transformers 5.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    rope_theta: Option<f32>,
    rope_type: Option<String>,
}

/// The config of a text.
pub(super) fn config(text: &str) -> Read<Config> {
    let raw: Raw = serde_json::from_str(text)
        .map_err(|error| format!("expected a model's config: {error}"))?;
    let named = |known: &Architecture| known.name() == raw.model_type;
    let Some(architecture) = Architecture::ALL.into_iter().find(named) else {
        let known = Architecture::ALL.map(Architecture::name).join(", ");
        return Err(format!("expected model_type {known}, found `{}`", raw.model_type));
    };
    raw.check_activations()?;
    let form = raw.form(architecture)?;
    let first = if let Positions::Table { first, .. } = form.positions { first } else { 0 };
    use Architecture::{DistilBert, ModernBert, Mpnet};
    Ok(Config {
        architecture,
        vocab_size: raw.vocab_size,
        hidden: raw.hidden_size,
        layers: raw.num_hidden_layers,
        heads: raw.num_attention_heads,
        intermediate: raw.intermediate_size,
        max_positions: raw.max_position_embeddings.saturating_sub(first),
        token_types: match architecture {
            DistilBert | Mpnet | ModernBert => 0,
            _ => raw.type_vocab_size,
        },
        norm_epsilon: match architecture {
            ModernBert => raw.norm_eps.unwrap_or(1e-5),
            _ => raw.layer_norm_eps.unwrap_or(1e-12),
        },
        form,
        vocabulary_head: raw.l0_head,
    })
}

impl Raw {
    fn check_activations(&self) -> Read<()> {
        let all = [
            ("hidden_act", &self.hidden_act),
            ("hidden_activation", &self.hidden_activation),
            ("classifier_activation", &self.classifier_activation),
        ];
        for (field, name) in all {
            // `gelu_python` is the same function; `gelu_new` and `gelu_pytorch_tanh` only approximate it
            if let Some(other) =
                name.as_deref().filter(|name| !["gelu", "gelu_python"].contains(name))
            {
                return Err(format!(
                    "expected {field} gelu, found `{other}`, which is not implemented"
                ));
            }
        }
        Ok(())
    }

    fn form(&self, architecture: Architecture) -> Read<Form> {
        let bert = Form {
            tied: self.tie_word_embeddings.unwrap_or(true),
            ..Form::bert(self.num_hidden_layers.min(super::MOST_LAYERS))
        };
        let padded =
            |padding: u32| Positions::Table { first: padding as usize + 1, padding: Some(padding) };
        match architecture {
            Architecture::Bert | Architecture::DistilBert => {
                self.want_positions("absolute")?;
                Ok(bert)
            }
            Architecture::Roberta | Architecture::XlmRoberta => {
                self.want_positions("absolute")?;
                Ok(Form { positions: padded(self.pad_token_id.unwrap_or(1)), ..bert })
            }
            Architecture::Mpnet => {
                let buckets = self.relative_attention_num_buckets.unwrap_or(BUCKETS);
                if buckets != BUCKETS {
                    return Err(format!(
                        "expected relative_attention_num_buckets {BUCKETS}, found {buckets}"
                    ));
                }
                // its code counts from 1 for any padding token
                Ok(Form { positions: padded(1), relative: true, ..bert })
            }
            Architecture::ModernBert => self.modernbert(bert),
            Architecture::New | Architecture::Gte => self.gte(architecture, bert),
        }
    }

    fn want_positions(&self, wanted: &str) -> Read<()> {
        match self.position_embedding_type.as_deref().unwrap_or(wanted) {
            known if known == wanted => Ok(()),
            other => Err(format!("expected position_embedding_type {wanted}, found `{other}`")),
        }
    }

    fn rope_parameters<T: Default + DeserializeOwned>(&self) -> Read<T> {
        let Some(given) = &self.modern.rope_parameters else { return Ok(T::default()) };
        T::deserialize(given).map_err(|error| format!("rope_parameters: {error}"))
    }

    fn modernbert(&self, bert: Form) -> Read<Form> {
        let modern = &self.modern;
        let kinds: Kinds = self.rope_parameters()?;
        if let Some(scaling) = &self.rope_scaling {
            return Err(format!("expected no rope_scaling, found {}", scaling.kind()));
        }
        let rotary = |one: Option<One>, old: Option<f32>, default: f32| -> Read<Rotary> {
            let theta = one.unwrap_or_default().theta()?.or(old).unwrap_or(default);
            Ok(Rotary { theta, factor: 1.0 })
        };
        let rotaries = vec![
            rotary(kinds.full_attention, modern.global_rope_theta, 160_000.0)?,
            rotary(kinds.sliding_attention, modern.local_rope_theta, 10_000.0)?,
        ];
        // the window counts both sides
        let near = Span::Near(modern.local_attention.unwrap_or(128) / 2);
        let [all, window] =
            [(Span::All, 0), (near, 1)].map(|(span, rotary)| LayerAttention { span, rotary });
        let every = modern.global_attn_every_n_layers.unwrap_or(3).max(1);
        let layers = bert.sees.len();
        let sees = match &modern.layer_types {
            None => (0..layers).map(|at| if at % every == 0 { all } else { window }).collect(),
            Some(types) => types
                .iter()
                .map(|kind| match kind.as_str() {
                    "full_attention" => Ok(all),
                    "sliding_attention" => Ok(window),
                    other => Err(format!(
                        "expected layer_types of full_attention and sliding_attention, found `{other}`"
                    )),
                })
                .collect::<Read<Vec<LayerAttention>>>()?,
        };
        if sees.len() != layers {
            let got = sees.len();
            return Err(format!("expected layer_types for {layers} layers, found {got}"));
        }
        let is_on = |flag: Option<bool>| HasBias::from(flag.unwrap_or(false));
        Ok(Form {
            positions: Positions::Rotary(rotaries),
            sees,
            norms: Norms::Pre,
            feed: Mlp::Gated(Half::First),
            biases: Biases {
                norms: is_on(modern.norm_bias),
                attention: is_on(modern.attention_bias),
                up: is_on(modern.mlp_bias),
                down: is_on(modern.mlp_bias),
                head: is_on(modern.classifier_bias),
                decoder: modern.decoder_bias.unwrap_or(true).into(),
            },
            ..bert
        })
    }

    fn gte(&self, architecture: Architecture, bert: Form) -> Read<Form> {
        self.want_positions("rope")?;
        let norm = self.layer_norm_type.as_deref().unwrap_or("layer_norm");
        if norm != "layer_norm" {
            return Err(format!("expected layer_norm_type layer_norm, found `{norm}`"));
        }
        let Packed { pack_qkv, logn_attention_scale, logn_attention_clip1 } = self.packed;
        for (field, wanted, got) in [
            ("pack_qkv", true, pack_qkv),
            ("logn_attention_scale", false, logn_attention_scale),
            ("logn_attention_clip1", false, logn_attention_clip1),
        ] {
            if got.is_some_and(|got| got != wanted) {
                return Err(format!("expected {field} {wanted}, found {}", !wanted));
            }
        }
        let own = self.rope_parameters::<One>()?.theta()?;
        let default = (architecture == Architecture::Gte).then_some(160_000.0);
        let Some(theta) = own.or(self.rope_theta).or(default) else {
            return Err("expected rope_theta, found none".into());
        };
        let factor = self.rope_scaling.as_ref().map_or(Ok(1.0), Scaling::ntk)?;
        Ok(Form {
            positions: Positions::Rotary(vec![Rotary { theta, factor }]),
            feed: Mlp::Gated(Half::Last),
            biases: Biases { up: HasBias::No, ..Biases::ALL },
            ..bert
        })
    }
}

impl One {
    fn theta(&self) -> Read<Option<f32>> {
        match self.rope_type.as_deref().unwrap_or("default") {
            "default" => Ok(self.rope_theta),
            other => Err(format!("expected rope_type default, found `{other}`")),
        }
    }
}

impl Scaling {
    fn kind(&self) -> &str {
        self.r#type.as_deref().unwrap_or("one without a type")
    }

    fn ntk(&self) -> Read<f32> {
        match (self.kind(), self.factor, self.mixed_b) {
            ("ntk", Some(factor), None) => Ok(factor),
            ("ntk", _, Some(_)) => Err("expected rope_scaling without mixed_b".into()),
            (kind, ..) => {
                Err(format!("expected rope_scaling of type ntk with a factor, found {kind}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
