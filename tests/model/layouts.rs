//! Directories laid out as published models are, from the tiny checkpoints of `families`: which files say
//! what, and that all of them load, encode documents and make queries.

use l0::internal::{
    device::{Compute, Precision},
    model::{Activation, Architecture, ModelDirectory, Overrides, SparseEncoder},
    sparse::TermId,
    text::{QueryEncoder, QueryTable, Tokenizer},
};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};

use crate::{
    model::families::folder,
    support::{Work, run},
};

const CLASSES: &str = "sentence_transformers.sparse_encoder.models";

/// What is next to an encoder.
#[derive(Clone, Copy)]
enum Beside {
    /// Nothing: naver's SPLADE before there were modules.
    Nothing,
    /// Encoder and pooling, for documents and queries alike: granite, SPLADE v3, rasyosef's.
    Modules(&'static str),
    /// A router with a table for queries, and the table under its older names too: OpenSearch's.
    Router(&'static str),
    /// A router whose table weighs every token 1: SPLADE v3 doc.
    Binary,
    /// The table alone, as OpenSearch's models had it first.
    Table,
}

struct Layout {
    name: &'static str,
    architecture: Architecture,
    beside: Beside,
    activation: Option<Activation>,
}

const fn layout(
    name: &'static str,
    architecture: Architecture,
    beside: Beside,
    activation: Option<Activation>,
) -> Layout {
    Layout { name, architecture, beside, activation }
}

const SPLADE: Option<Activation> = Some(Activation::SPLADE);
const L0: Option<Activation> = Some(Activation::L0);

const LAYOUTS: [Layout; 12] = [
    layout("doc-v1", Architecture::Bert, Beside::Router("relu"), SPLADE),
    layout("doc-v1-first", Architecture::Bert, Beside::Table, None),
    layout("doc-v2-distill", Architecture::DistilBert, Beside::Router("relu"), SPLADE),
    layout("doc-v2-mini", Architecture::Bert, Beside::Router("relu"), SPLADE),
    layout("doc-v3-distill", Architecture::DistilBert, Beside::Router("log1p_relu"), L0),
    layout("doc-v3-gte", Architecture::New, Beside::Router("log1p_relu"), L0),
    layout("granite-30m-sparse", Architecture::Roberta, Beside::Modules("relu"), SPLADE),
    layout("splade_v2_distil", Architecture::DistilBert, Beside::Nothing, None),
    layout("splade-v3", Architecture::Bert, Beside::Modules("relu"), SPLADE),
    layout("splade-v3-doc", Architecture::Bert, Beside::Binary, SPLADE),
    layout("splade-tiny", Architecture::Bert, Beside::Modules("relu"), SPLADE),
    layout("modernbert-splade", Architecture::ModernBert, Beside::Modules("relu"), SPLADE),
];

fn write_json(work: &Work, name: &str, value: &Value) {
    work.write(name, serde_json::to_string_pretty(value).unwrap());
}

/// A table `[V]` that grows with the id.
fn growing(terms: usize) -> Vec<f32> {
    (0..terms).map(|id| 0.5 + id as f32 / 64.0).collect()
}

fn write_table(work: &Work, file: &str, weights: &[f32]) {
    let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![weights.len()], &bytes).unwrap();
    work.write(file, safetensors::serialize([("weight", view)], None).unwrap());
}

fn write_pooling(work: &Work, folder: &str, function: &str, terms: usize) {
    let pooling = json!({"pooling_strategy": "max", "activation_function": function,
        "word_embedding_dimension": terms});
    write_json(work, &format!("{folder}/config.json"), &pooling);
}

impl Layout {
    /// Writes the directory; its name.
    fn write(&self, work: &Work) -> &'static str {
        let name = self.name;
        for file in std::fs::read_dir(folder(self.architecture)).unwrap() {
            let file = file.unwrap();
            let copy = format!("{name}/{}", file.file_name().to_str().unwrap());
            work.write(&copy, std::fs::read(file.path()).unwrap());
        }
        let tokenizer = Tokenizer::load(&folder(self.architecture)).unwrap();
        let tokens = tokenizer.vocabulary().tokens();
        match self.beside {
            Beside::Nothing => {}
            Beside::Modules(function) => {
                let modules = json!([
                    {"idx": 0, "name": "0", "path": "", "type": format!("{CLASSES}.MLMTransformer")},
                    {"idx": 1, "name": "1", "path": "1_SpladePooling",
                        "type": format!("{CLASSES}.SpladePooling")},
                ]);
                write_json(work, &format!("{name}/modules.json"), &modules);
                write_pooling(work, &format!("{name}/1_SpladePooling"), function, tokens.len());
                let length = json!({"max_seq_length": 100, "do_lower_case": false});
                write_json(work, &format!("{name}/sentence_bert_config.json"), &length);
            }
            Beside::Router(function) => {
                self.write_router(work, function, &growing(tokens.len()));
                self.write_named_table(work, tokens);
            }
            Beside::Binary => self.write_router(work, "relu", &vec![1.0; tokens.len()]),
            Beside::Table => self.write_named_table(work, tokens),
        }
        name
    }

    fn write_router(&self, work: &Work, function: &str, weights: &[f32]) {
        let (name, query, pooling) =
            (self.name, "query_0_SparseStaticEmbedding", "document_1_SpladePooling");
        let modules = json!([{"idx": 0, "name": "0", "path": "",
            "type": "sentence_transformers.models.Router"}]);
        write_json(work, &format!("{name}/modules.json"), &modules);
        let router = json!({
            "types": {query: format!("{CLASSES}.SparseStaticEmbedding"),
                "": format!("{CLASSES}.MLMTransformer"), pooling: format!("{CLASSES}.SpladePooling")},
            "structure": {"query": [query], "document": ["", pooling]},
            "parameters": {"default_route": "document", "allow_empty_key": true},
        });
        write_json(work, &format!("{name}/router_config.json"), &router);
        write_json(work, &format!("{name}/{query}/config.json"), &json!({"frozen": true}));
        write_table(work, &format!("{name}/{query}/model.safetensors"), weights);
        write_pooling(work, &format!("{name}/{pooling}"), function, weights.len());
        let length = json!({"max_seq_length": 100, "do_lower_case": false});
        write_json(work, &format!("{name}/sentence_bert_config.json"), &length);
    }

    fn write_named_table(&self, work: &Work, tokens: &[String]) {
        let named: serde_json::Map<String, Value> = tokens
            .iter()
            .zip(growing(tokens.len()))
            .map(|(token, weight)| (token.clone(), json!(weight)))
            .collect();
        write_json(work, &format!("{}/idf.json", self.name), &Value::Object(named));
    }
}

#[test]
fn directories_laid_out_as_published_models_say_what_those_say() {
    for layout in &LAYOUTS {
        let work = Work::new();
        let path = work.path(layout.write(&work));
        let directory = ModelDirectory::open(&path).unwrap();
        assert_eq!(directory.activation, layout.activation, "{}", layout.name);
        let has_modules = !matches!(layout.beside, Beside::Nothing | Beside::Table);
        assert_eq!(directory.max_tokens, has_modules.then_some(100), "{}", layout.name);
        let overrides = Overrides::default();
        let encoder =
            SparseEncoder::load(&directory, overrides, Compute::Cpu, Precision::F32).unwrap();
        assert_eq!(encoder.max_tokens, if has_modules { 100 } else { 160 });
        let tokenizer = Tokenizer::load(&directory.encoder).unwrap();
        assert_eq!(encoder.vocab_size, tokenizer.vocabulary().len());
        let text = "the tides of the sea";
        let ids = tokenizer.tokens(text, encoder.max_tokens).unwrap().ids;
        assert!(encoder.encode(&[&ids]).unwrap()[0].nnz() > 0, "{}", layout.name);

        let is_free = matches!(layout.beside, Beside::Router(_) | Beside::Binary | Beside::Table);
        assert_eq!(directory.query_table.is_some(), is_free, "{}", layout.name);
        let Some(table) = &directory.query_table else { continue };
        let mut terms = tokenizer.pieces(text).unwrap();
        terms.sort_unstable();
        terms.dedup();
        let table = QueryTable::read(table, tokenizer.vocabulary()).unwrap();
        let query = QueryEncoder::new(tokenizer, &table).unwrap().encode(text).unwrap();
        let weight = |term: u32| match layout.beside {
            Beside::Binary => 1.0,
            _ => 0.5 + term as f32 / 64.0,
        };
        let expected: Vec<_> = terms.iter().map(|&term| (TermId(term), weight(term))).collect();
        assert_eq!(query.iter().collect::<Vec<_>>(), expected, "{}", layout.name);
    }
}

/// An inference-free one by the programs, and a Siamese one, whose queries go through the network.
#[test]
fn the_programs_take_them() {
    let documents = "testdata/demo/corpus.jsonl";
    for (name, role) in [("doc-v3-gte", "table"), ("granite-30m-sparse", "network")] {
        let work = Work::new();
        let layout = LAYOUTS.iter().find(|layout| layout.name == name).unwrap();
        let model = layout.write(&work);
        let line = format!(
            "set -e; l0-encode {documents} --model {model} -o v.parquet --quiet
             l0-index v.parquet --model {model} -o i.l0x --quiet
             echo '{{\"_id\":\"q\",\"text\":\"the tides of the sea\"}}' >q.jsonl
             l0-encode --role query q.jsonl --model {model} --format jsonl --quiet >q.vectors
             l0-query i.l0x {} -k 5 --format trec",
            if role == "table" { "q.jsonl" } else { "q.vectors" }
        );
        let run = run(work.shell(&line), b"").exits(0);
        assert_eq!(run.stdout_text().lines().count(), 5, "{run}");
    }
}
