//! l0-train from outside: killed and resumed, full disks, bad recipes and data, exit statuses.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::{Run, Work, run};

const RECIPE: &str = r#"
log_every = 1
checkpoint_every = 4
[model]
base = "testdata/toy-st"
max_tokens = 24
dropout = 0.1
[optimizer]
lr = 1e-3
[[data]]
path = "testdata/demo"
split = "test"
[[stage]]
steps = 80
batch = 8
loss = [{ kind = "in_batch" }]
regularizer = { kind = "flops", lambda = 0.01, ramp = 30 }
"#;

/// A folder with a recipe.
struct Place {
    work: Work,
}

impl Place {
    fn new() -> Place {
        let work = Work::new();
        work.write("recipe.toml", RECIPE);
        Place { work }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.work.path(name)
    }

    fn command(&self, output: &str, more: &[&str]) -> Command {
        self.work.command("l0-train", &[&["recipe.toml", "-o", output], more].concat())
    }

    fn run(&self, output: &str, more: &[&str]) -> Run {
        run(self.command(output, more), b"")
    }
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

fn wait_for_lines(log: &Path, count: usize) {
    let began = Instant::now();
    while lines(log) < count && began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn check_fails(run: Run, status: i32, found: &str) {
    run.exits(status).says(found);
}

/// The log without what differs from run to run.
fn timeless(log: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let record = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        assert!(fields.remove("docs_per_second").is_some() && fields.remove("memory_mb").is_some());
        record
    };
    text.lines().map(record).collect()
}

#[test]
#[ignore = "slow: killed five times"]
fn killed_at_random_moments_and_resumed_it_writes_the_same_bytes() {
    let place = Place::new();
    place.run("whole", &[]).exits(0);
    let log = place.file("cut/train.jsonl");
    let mut random = ChaCha8Rng::seed_from_u64(5);
    // after a logged step that has a checkpoint before it, somewhere in the next steps
    let mut moments: Vec<(usize, u64)> =
        (0..5).map(|_| (random.random_range(5..50), random.random_range(0..20_000))).collect();
    moments.sort();
    let (mut more, mut late): (&[&str], u32) = (&[], 0);
    for (step, microseconds) in moments {
        let mut child = place.command("cut", more).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while lines(&log) < step && began.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_micros(500));
        }
        sleep(Duration::from_micros(microseconds));
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(lines(&log) >= step);
        if place.file("cut/model.safetensors").exists() {
            // a busy machine let us see it too late: it had ended; once more from the start
            std::fs::remove_dir_all(place.file("cut")).unwrap();
            (more, late) = (&[], late + 1);
            continue;
        }
        more = &["--resume"];
    }
    assert!(late < 5 && !more.is_empty(), "all of five kills came too late");
    place.run("cut", &["--resume"]).exits(0).says("goes on after step");
    for file in ["model.safetensors", "checkpoints/step-00000080/state.safetensors", "l0.json"] {
        let [cut, whole] = ["cut", "whole"].map(|run| std::fs::read(place.file(run).join(file)));
        assert!(cut.unwrap() == whole.unwrap(), "{file} differs");
    }
    let (cut, whole) = (timeless(&log), timeless(&place.file("whole/train.jsonl")));
    assert_eq!(whole.len(), 80);
    assert_eq!(cut, whole);

    let other = place.run("cut", &["--resume", "--set", "seed=9"]);
    check_fails(other, 3, "resume with the same file and the same --set");
    check_fails(place.run("none", &["--resume"]), 1, "found none");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_last_one() {
    let place = Place::new();
    let log = place.file("out/train.jsonl");
    let mut child = place.command("out", &[]).stderr(Stdio::null()).spawn().unwrap();
    wait_for_lines(&log, 6);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut folder = std::fs::read_dir(place.file("out/checkpoints")).unwrap();
    let kept = folder.next().unwrap().unwrap().path().join("state.safetensors");
    let before = std::fs::read(&kept).unwrap();
    // a limit on the size of files is what a full disk is to a writer; 100 blocks of 512 or 1024
    let script = "ulimit -f 100; trap '' XFSZ; exec l0-train recipe.toml -o out --resume";
    check_fails(run(place.work.shell(script), b""), 1, "File too large");
    assert!(std::fs::read(&kept).unwrap() == before, "the last checkpoint was touched");
    let folder = std::fs::read_dir(place.file("out/checkpoints")).unwrap();
    assert_eq!(folder.count(), 1, "something unfinished was left");
}

#[test]
fn what_cannot_be_trained_is_refused_with_a_status() {
    let place = Place::new();
    let set = |change: &str| place.run("out", &["--set", change, "--dry-run"]);
    check_fails(set("stage.0.stepps=1"), 1, "the nearest is `steps`");
    check_fails(set("stage.9.steps=1"), 2, "no item `9`");
    check_fails(set("model.base=nowhere"), 1, "nowhere");
    check_fails(set("model.max_tokens=65"), 2, "expected 3 to 64");
    check_fails(set("data.0.path=nowhere.jsonl"), 1, "nowhere.jsonl");
    check_fails(set("data.0.split=dev"), 1, "dev.tsv");
    check_fails(set("query.table=testdata/golden/step.json"), 1, "step.json");
    check_fails(set("model.base=testdata/toy"), 2, "l0-encode idf makes one");
    check_fails(set("stage.0.loss.0.kind=kl"), 1, "without scores");
    check_fails(place.run("out", &["--dtype", "bf16"]), 2, "expected f32 to train on a processor");
    check_fails(place.work.run("l0-train", "", ""), 2, "Usage");
    if !cfg!(feature = "cuda") {
        check_fails(place.run("out", &["--device", "cuda"]), 2, "--device: expected cpu");
    }
    assert!(!place.file("out").exists(), "a run that did not begin left something");
    let dry = place.run("out", &["--dry-run"]);
    let dry = dry.exits(0).says("dry run");
    assert!(dry.stdout().is_empty(), "{dry}");
    assert!(!place.file("out").exists());
}

#[test]
fn what_is_in_the_way_is_not_written_over() {
    let place = Place::new();
    let mine = place.file("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("README.md"), "mine").unwrap();
    check_fails(place.run("mine", &[]), 2, "README.md is in it");
    std::fs::remove_file(mine.join("README.md")).unwrap();
    std::fs::write(mine.join("train.jsonl"), "{\"query\": \"mine\"}\n").unwrap();
    check_fails(place.run("mine", &[]), 2, "train.jsonl is in it");
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 1, "something was written");

    // a run that was killed before its first checkpoint may be begun again
    std::fs::write(mine.join("train.jsonl"), "{\"step\": 1}\n").unwrap();
    let held = std::fs::File::options().read(true).open(&mine).unwrap();
    held.lock().unwrap();
    check_fails(place.run("mine", &["--set", "stage.0.steps=1"]), 2, "another run");
    drop(held);
    place.run("mine", &["--set", "stage.0.steps=1"]).exits(0);
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let place = Place::new();
    let wild = ["--set", "stage.0.steps=1", "--set", "optimizer.lr=1e38"];
    check_fails(place.run("out", &wild), 1, "is not finite after step 1");
    assert!(!place.file("out").join("model.safetensors").exists());
    assert!(!place.file("out").join("checkpoints/step-00000001").exists());
}

#[test]
fn check_tells_what_is_wrong_with_data() {
    let place = Place::new();
    place.work.write(
        "x.jsonl",
        "{\"query\":\"q\",\"pos\":\"sea\"}\n{\"query\":\"q\",\"docs\":[\"a\"],\"scores\":[NaN]}\n",
    );
    let check = |path: &str| {
        let arguments = format!("check {path} --tokenizer testdata/toy --split test");
        place.work.run("l0-train", &arguments, "")
    };
    let bad = check("x.jsonl").exits(1).says("expected data that can be trained on");
    bad.prints("x.jsonl:2: expected an example").prints("1 without negatives");
    check("testdata/demo").exits(0);
}

#[test]
fn mined_negatives_train() {
    let place = Place::new();
    let run = |program: &str, arguments: &str| place.work.run(program, arguments, "").exits(0);
    let bm25 = "--model bm25 --tokenizer testdata/toy testdata/demo/corpus.jsonl -o v.parquet";
    run("l0-encode", bm25);
    run("l0-index", "v.parquet --tokenizer testdata/toy -o d.l0x");
    let mine = "mine --index d.l0x --model testdata/toy testdata/demo/queries.jsonl \
                testdata/demo/qrels/test.tsv -o m.jsonl";
    run("l0-train", mine).says("60 queries with 480 negatives");
    let without = "data.0={ path = \"m.jsonl\" }";
    check_fails(place.run("out", &["--set", without, "--dry-run"]), 1, "texts");
    let data = "data.0={ path = \"m.jsonl\", texts = \"testdata/demo\" }";
    let more = ["--set", data, "--set", "stage.0.steps=2", "--set", "stage.0.documents=4"];
    place.run("out", &more).exits(0);
}

/// The evaluations of a log, as they stand in it.
fn evaluations(log: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter_map(|line| line.get("evaluation").cloned()).collect()
}

#[test]
fn a_run_is_measured_as_its_user_would_and_the_best_model_is_kept() {
    let place = Place::new();
    let evaluate = "evaluate={ every = 5, data = [\"testdata/demo\"] }";
    let few = ["--set", "stage.0.steps=12", "--set", evaluate];
    place.run("out", &few).exits(0).says("the best so far");
    let found = evaluations(&place.file("out/train.jsonl"));
    let steps: Vec<_> = found.iter().map(|one| one["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [5, 10, 12]);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.file(name)).unwrap()).unwrap()
    };
    assert_eq!(json("out/l0.json")["evaluation"], found[2]);
    // the measure is kept when a finished run is resumed
    std::fs::remove_file(place.file("out/l0.json")).unwrap();
    place.run("out", &[&few[..], &["--resume"]].concat()).exits(0);
    assert_eq!(json("out/l0.json")["evaluation"], found[2]);
    let best = &json("out/best/l0.json")["evaluation"];
    let mean = |one: &serde_json::Value| one["mean"].as_f64().unwrap();
    assert_eq!(mean(best), found.iter().map(mean).fold(0.0, f64::max));

    // the programs, on the directory that was kept
    let run = |program: &str, arguments: &str| place.work.run(program, arguments, "").exits(0);
    run("l0-encode", "--model out/best testdata/demo/corpus.jsonl -o v.parquet");
    run("l0-index", "v.parquet --model out/best -o d.l0x");
    run("l0-query", "d.l0x testdata/demo/queries.jsonl -k 1000 --format trec -o d.run");
    let eval = "testdata/demo/qrels/test.tsv d.run -m nDCG@10 --format jsonl";
    let line: serde_json::Value = serde_json::from_slice(run("l0-eval", eval).stdout()).unwrap();
    assert_eq!(line["value"].as_f64().unwrap(), mean(best));

    check_fails(place.run("out", &few), 2, "out holds a run; continue it with --resume");
    let nowhere = "evaluate={ every = 5, data = [\"testdata/toy-st\"] }";
    check_fails(place.run("new", &["--set", nowhere]), 1, "test.tsv");
    let unknown = "evaluate={ every = 5, data = [\"testdata/demo\"], measure = \"goodness\" }";
    check_fails(place.run("new", &["--set", unknown]), 2, "goodness");
}
