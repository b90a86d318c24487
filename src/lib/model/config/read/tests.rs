//! Configurations of the families, sound and broken.

use super::*;

fn read(name: &str, changes: &str) -> Read<Config> {
    let file = format!("testdata/golden/families/{name}/config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let changes: Value = serde_json::from_str(changes).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    let config = super::config(&config.to_string())?;
    config.check().map(|()| config)
}

#[test]
fn old_and_new_spellings_of_modernbert_are_one_config() {
    let new = read("modernbert", "{}").unwrap();
    assert_eq!(new.form.sees.iter().filter(|sees| sees.span == Span::Near(12)).count(), 2);
    let old = r#"{"layer_types": null, "rope_parameters": null, "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}"#;
    assert_eq!(read("modernbert", old).unwrap(), new);
    let theta = read("modernbert", r#"{"rope_parameters": null, "local_rope_theta": 7.0}"#);
    assert_ne!(theta.unwrap(), new);
}

#[test]
fn places_begin_behind_the_padding_token() {
    let config = read("roberta", "{}").unwrap();
    assert_eq!((config.max_positions, config.position_rows()), (160, Some(162)));
    assert_eq!(config.places(&[0, 9, 1, 9, 2]), [2, 3, 1, 4, 5]);
    let config = read("xlm-roberta", r#"{"pad_token_id": 0}"#).unwrap();
    assert_eq!(config.places(&[5, 0, 6]), [1, 0, 2]);
    assert_eq!(read("mpnet", r#"{"pad_token_id": 0}"#).unwrap().places(&[0, 1, 2]), [2, 1, 3]);
    assert_eq!(read("bert", "{}").unwrap().places(&[7, 0, 7]), [0, 1, 2]);
}

#[test]
fn angles_are_those_of_ntk_scaling() {
    let plain = Rotary { theta: 100.0, factor: 1.0 };
    assert_eq!(plain.frequencies(4), [1.0, 0.1]);
    // (100 · 4)^0 and ^(1/2), over 4^(2/4)
    assert_eq!(Rotary { factor: 4.0, ..plain }.frequencies(4), [0.5, 0.025]);
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    for (name, changes, message) in [
        ("bert", r#"{"model_type": "deberta-v2"}"#, "modernbert, new, gte, found `deberta-v2`"),
        ("bert", r#"{"hidden_act": "gelu_new"}"#, "expected hidden_act gelu, found `gelu_new`"),
        (
            "bert",
            r#"{"position_embedding_type": "relative_key"}"#,
            "absolute, found `relative_key`",
        ),
        ("roberta", r#"{"hidden_act": "relu"}"#, "expected hidden_act gelu, found `relu`"),
        ("roberta", r#"{"type_vocab_size": 0}"#, "type_vocab_size above 0, found 0"),
        ("roberta", r#"{"max_position_embeddings": 4}"#, "of 5 or more, found 4"),
        ("mpnet", r#"{"relative_attention_num_buckets": 64}"#, "num_buckets 32, found 64"),
        (
            "modernbert",
            r#"{"hidden_activation": "gelu_pytorch_tanh"}"#,
            "found `gelu_pytorch_tanh`",
        ),
        (
            "modernbert",
            r#"{"classifier_activation": "silu"}"#,
            "expected classifier_activation gelu",
        ),
        ("modernbert", r#"{"layer_types": ["full_attention"]}"#, "for 4 layers, found 1"),
        ("modernbert", r#"{"layer_types": ["chunked_attention"]}"#, "found `chunked_attention`"),
        ("modernbert", r#"{"rope_parameters": {"rope_theta": 1.0}}"#, "unknown field `rope_theta`"),
        ("modernbert", r#"{"rope_scaling": {"type": "linear"}}"#, "no rope_scaling, found linear"),
        ("modernbert", r#"{"local_rope_theta": 0.0, "rope_parameters": null}"#, "theta above 0"),
        ("modernbert", r#"{"max_position_embeddings": 1000000000}"#, "at most 131072 of them"),
        ("modernbert", r#"{"num_attention_heads": 16}"#, "heads of an even width"),
        ("new", r#"{"position_embedding_type": "absolute"}"#, "rope, found `absolute`"),
        ("new", r#"{"layer_norm_type": "rms_norm"}"#, "layer_norm, found `rms_norm`"),
        ("new", r#"{"pack_qkv": false}"#, "expected pack_qkv true, found false"),
        (
            "new",
            r#"{"logn_attention_scale": true}"#,
            "expected logn_attention_scale false, found true",
        ),
        ("new", r#"{"rope_theta": null}"#, "expected rope_theta, found none"),
        ("new", r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#, "factor, found dynamic"),
        ("new", r#"{"rope_scaling": {"type": "ntk", "factor": 2.0, "mixed_b": 1.0}}"#, "mixed_b"),
        ("new", r#"{"rope_scaling": {"type": "ntk", "factor": 0.5}}"#, "a factor of 1 or more"),
        ("gte", r#"{"rope_parameters": {"rope_type": "yarn"}}"#, "rope_type default, found `yarn`"),
    ] {
        let error = read(name, changes).unwrap_err();
        assert!(error.contains(message), "{name} {changes}: {error}");
    }
}
