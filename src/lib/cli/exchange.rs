//! The arguments of l0-index's export and import, and what they say at the end.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::{
    RejectArgs, RunArgs, clock,
    suggest::{self, suggest},
};
use crate::{
    error::{Error, Result},
    exchange::{Exported, Quantize, Role, Target, read::Source},
    vectors::Form,
};

/// `l0-index export`
#[derive(Args)]
#[command(
    after_long_help = "Examples (demo.l0x and demo.parquet are made by the example of l0-index --help):
  For OpenSearch: demo.ndjson for _bulk; its mapping, a query and how to load it are next to it:
    l0-index export demo.l0x --to opensearch -o demo.ndjson && cat demo.ndjson.export.json

  For Anserini, from vectors as they came, weights times 100; and queries in its form:
    l0-index export demo.parquet --tokenizer testdata/demo --to anserini -o demo.anserini.jsonl
    l0-encode --role query --model testdata/toy testdata/demo/queries.jsonl -o queries.parquet
    l0-index export queries.parquet --model testdata/toy --to anserini --quantize scale:10 -o queries.tsv

  For PISA and everything else that reads the Common Index File Format:
    l0-index export demo.l0x --to ciff -o demo.ciff"
)]
pub struct ExportArgs {
    /// An index, or files of vectors in order; none or - for standard input
    #[arg(value_name = "INDEX|VECTORS", value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// opensearch, opensearch-ann, elasticsearch, vespa, qdrant, anserini, seismic, jsonl, ciff or pisa
    #[arg(long, value_name = "FORMAT", value_parser = suggest::<Target>(&Target::NAMES), hide_possible_values = true)]
    pub to: Target,
    /// The file to write; what belongs to it goes next to it, under this name and an ending
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// How weights become whole numbers: none, scale:S, range:R:LEVELS, max:LEVELS, minmax:LEVELS (not linear)
    /// or u8-ceil:C [default: none; scale:100 for anserini, max:255 for ciff and pisa, scale:10 for their
    /// queries]
    #[arg(long, value_name = "RULE", value_parser = suggest::<Quantize>(suggest::LEVELS), hide_possible_values = true)]
    pub quantize: Option<Quantize>,
    /// What the vectors are: queries become queries in the engine's form [default: what the vectors say, else
    /// document]
    #[arg(long, value_name = "document|query", value_parser = role)]
    pub role: Option<Role>,
    /// What the index or collection is called in the engine
    #[arg(long, value_name = "NAME", default_value = "l0", value_parser = name)]
    pub name: String,
    /// What the field with the weights is called
    #[arg(long, value_name = "NAME", default_value = "emb", value_parser = field)]
    pub field: String,
    /// Hits that exported queries ask for
    #[arg(short, value_name = "K", default_value_t = 10, value_parser = hits)]
    pub k: usize,
    /// For vectors: the directory of the model that made them, a model that ships with the program
    /// (l0:default, l0:tiny), or its name on the hub [default without --tokenizer: l0:default]
    #[arg(long, value_name = "DIR", conflicts_with = "tokenizer")]
    pub model: Option<PathBuf>,
    /// For vectors: the directory of the tokenizer, l0:default, l0:tiny, or its tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Option<PathBuf>,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

impl ExportArgs {
    /// The rule that is asked for, or the one that users of the form expect.
    pub fn rule(&self, role: Role) -> Quantize {
        self.quantize.unwrap_or(match role {
            Role::Queries => self.to.usual_of_queries(),
            Role::Documents => self.to.usual(),
        })
    }

    /// The closing line.
    pub fn summary(&self, summary: &Exported, seconds: f64) -> String {
        let mut text =
            format!("{} rows, {} weights in {}", summary.rows, summary.postings, clock(seconds));
        for (count, what) in [
            (summary.empty, "rows without a weight"),
            (summary.dropped, "weights too small for a whole number, left out"),
        ] {
            if count > 0 {
                text += &format!("; {count} {what}");
            }
        }
        match summary.sidecars.len() {
            0 => text += "; what belongs next to it (schema, sample query) is written with -o FILE",
            _ => text += &format!("; next to it: {}", summary.sidecars.join(", ")),
        }
        text
    }
}

/// A name that no other field has.
fn field(text: &str) -> Result<String> {
    match text {
        "id" | "title" | "text" => Err(Error::Usage(format!(
            "expected a name other than id, title and text, found `{text}`"
        ))),
        _ => name(text),
    }
}

fn hits(text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|&number: &usize| number > 0);
    number.ok_or_else(|| Error::Usage(format!("expected a number above 0, found `{text}`")))
}

fn role(text: &str) -> Result<Role> {
    match text {
        "document" => Ok(Role::Documents),
        "query" => Ok(Role::Queries),
        _ => Err(Error::Usage(format!("expected document or query, found `{text}`"))),
    }
}

/// A name that every engine takes, in file formats and queries too.
fn name(text: &str) -> Result<String> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(sound) {
        true => Ok(text.to_owned()),
        false => Err(Error::Usage(format!(
            "expected a letter a-z, then a-z, 0-9 or _, as every engine takes it; found `{text}`"
        ))),
    }
}

/// `l0-index import`
#[derive(Args)]
#[command(after_long_help = "Examples (demo.l0x is made by the example of l0-index --help):
  An inverted file of another engine becomes vectors, and an index:
    l0-index export demo.l0x --to ciff -o demo.ciff
    l0-index import demo.ciff --from ciff --tokenizer testdata/demo -o again.parquet
    l0-index again.parquet --tokenizer testdata/demo -o again.l0x

  Responses of text-embeddings-inference, with ids from a file:
    echo '[[{\"index\":101,\"value\":1.5}],[]]' >responses.jsonl; printf 'a\\nb\\n' >ids.txt
    l0-index import responses.jsonl --from tei --ids ids.txt --tokenizer testdata/demo --format jsonl")]
pub struct ImportArgs {
    /// The file; none or - for standard input
    #[arg(value_name = "FILE", default_value = "-", value_hint = ValueHint::FilePath)]
    pub input: PathBuf,
    /// ciff, anserini, seismic, splade, jsonl (lines with an id and a vector keyed by tokens, as pairs, or as indices and values)
    /// or tei (responses of /embed_sparse)
    #[arg(long, value_name = "FORMAT", value_parser = suggest::<Source>(&Source::NAMES), hide_possible_values = true)]
    pub from: Source,
    /// For tei: document ids, one per line [default: numbers from 0]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ids: Option<PathBuf>,
    /// The tokenizer whose vocabulary the vectors have: its directory, l0:default, l0:tiny, or its
    /// tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub tokenizer: PathBuf,
    /// Divide every weight by this: what the exporter multiplied with
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = divisor)]
    pub divide: f32,
    /// What the model is called in the vectors' metadata [default: the form]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The vectors are those of queries
    #[arg(long)]
    pub queries: bool,
    /// Keep titles and texts, where lines have them as title and text, contents or content
    #[arg(long)]
    pub keep_text: bool,
    /// Where the vectors go
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// parquet, arrow or jsonl [default: by the name of the output]
    #[arg(long, value_name = "FORM", value_parser = suggest::<Form>(suggest::FORMS), hide_possible_values = true)]
    pub format: Option<Form>,
    /// What happens to bad records
    #[command(flatten)]
    pub rejects: RejectArgs,
    /// Threads and talk
    #[command(flatten)]
    pub run: RunArgs,
}

impl ImportArgs {
    /// That ids are given where they are wanted only.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self) -> Result<()> {
        match &self.ids {
            Some(_) if !self.from.lacks_ids() => {
                Err(Error::Usage(format!("--ids: --from {} has ids of its own", self.from)))
            }
            Some(ids) if ids == Path::new("-") => {
                Err(Error::Usage("--ids: expected a file, found standard input".into()))
            }
            _ => Ok(()),
        }
    }

    /// The closing line.
    pub fn summary(&self, rows: u64, refused: u64, seconds: f64) -> String {
        let mut text = format!("{rows} rows in {}", clock(seconds));
        if refused > 0 {
            text += &format!("; {refused} refused");
        }
        text
    }
}

fn divisor(text: &str) -> Result<f32> {
    let number = text.parse().ok().filter(|number: &f32| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| Error::Usage(format!("expected a number above 0, found `{text}`")))
}
