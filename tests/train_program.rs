//! l0-train from outside: killed and resumed, full disks, bad recipes and data, exit statuses.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

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

fn train() -> Command {
    Command::new(env!("CARGO_BIN_EXE_l0-train"))
}

struct Place {
    above: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let above = tempfile::tempdir().unwrap();
        std::fs::write(above.path().join("recipe.toml"), RECIPE).unwrap();
        Place { above }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.above.path().join(name)
    }

    fn command(&self, output: &str, more: &[&str]) -> Command {
        let mut command = train();
        command.arg(self.file("recipe.toml")).arg("-o").arg(self.file(output)).args(more);
        command
    }

    fn run(&self, output: &str, more: &[&str]) -> Output {
        self.command(output, more).output().unwrap()
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
fn check_fails(output: &Output, status: i32, found: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{told}");
    assert!(told.contains(found), "want `{found}` in: {told}");
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
fn killed_at_random_moments_and_resumed_it_writes_the_same_bytes() {
    let place = Place::new();
    let done = place.run("whole", &[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let log = place.file("cut/train.jsonl");
    let mut random = ChaCha8Rng::seed_from_u64(5);
    // behind a logged step that has a checkpoint before it, somewhere in the next steps
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
    let done = place.run("cut", &["--resume"]);
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && told.contains("goes on after step"), "{told}");
    for file in ["model.safetensors", "checkpoints/step-00000080/state.safetensors", "l0.json"] {
        let [cut, whole] = ["cut", "whole"].map(|run| std::fs::read(place.file(run).join(file)));
        assert!(cut.unwrap() == whole.unwrap(), "{file} differs");
    }
    let (cut, whole) = (timeless(&log), timeless(&place.file("whole/train.jsonl")));
    assert_eq!(whole.len(), 80);
    assert_eq!(cut, whole);

    let other = place.run("cut", &["--resume", "--set", "seed=9"]);
    check_fails(&other, 3, "resume with the same file and the same --set");
    check_fails(&place.run("none", &["--resume"]), 1, "found none");
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
    let recipe = place.file("recipe.toml");
    let output = place.file("out");
    let script = format!(
        "ulimit -f 100; trap '' XFSZ; exec '{}' '{}' -o '{}' --resume",
        env!("CARGO_BIN_EXE_l0-train"),
        recipe.display(),
        output.display()
    );
    let full = Command::new("sh").args(["-c", &script]).output().unwrap();
    check_fails(&full, 1, "File too large");
    assert!(std::fs::read(&kept).unwrap() == before, "the last checkpoint was touched");
    let folder = std::fs::read_dir(place.file("out/checkpoints")).unwrap();
    assert_eq!(folder.count(), 1, "something unfinished was left");
}

#[test]
fn what_cannot_be_trained_is_refused_with_a_status() {
    let place = Place::new();
    let set = |change: &str| place.run("out", &["--set", change, "--dry-run"]);
    check_fails(&set("stage.0.stepps=1"), 1, "the nearest is `steps`");
    check_fails(&set("stage.9.steps=1"), 2, "no item `9`");
    check_fails(&set("model.base=nowhere"), 1, "nowhere");
    check_fails(&set("model.max_tokens=65"), 2, "want 3 to 64");
    check_fails(&set("data.0.path=nowhere.jsonl"), 1, "nowhere.jsonl");
    check_fails(&set("data.0.split=dev"), 1, "dev.tsv");
    check_fails(&set("query.table=testdata/golden/step.json"), 1, "step.json");
    check_fails(&set("model.base=testdata/toy"), 2, "l0-encode idf makes one");
    check_fails(&set("stage.0.loss.0.kind=kl"), 1, "without scores");
    check_fails(&place.run("out", &["--dtype", "bf16"]), 2, "want f32 to train on a processor");
    check_fails(&train().output().unwrap(), 2, "Usage");
    if !cfg!(feature = "cuda") {
        check_fails(&place.run("out", &["--device", "cuda"]), 2, "--features cuda");
    }
    assert!(!place.file("out").exists(), "a run that did not begin left something");
    let dry = place.run("out", &["--dry-run"]);
    let told = String::from_utf8_lossy(&dry.stderr).into_owned();
    assert!(dry.status.success() && told.contains("dry run") && dry.stdout.is_empty(), "{told}");
    assert!(!place.file("out").exists());
}

#[test]
fn what_is_in_the_way_is_not_written_over() {
    let place = Place::new();
    let mine = place.file("mine");
    std::fs::create_dir(&mine).unwrap();
    std::fs::write(mine.join("README.md"), "mine").unwrap();
    check_fails(&place.run("mine", &[]), 2, "README.md is in it");
    std::fs::remove_file(mine.join("README.md")).unwrap();
    std::fs::write(mine.join("train.jsonl"), "{\"query\": \"mine\"}\n").unwrap();
    check_fails(&place.run("mine", &[]), 2, "train.jsonl is in it");
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 1, "something was written");

    // a run that was killed before its first checkpoint may be begun again
    std::fs::write(mine.join("train.jsonl"), "{\"step\": 1}\n").unwrap();
    let held = std::fs::File::options().read(true).open(&mine).unwrap();
    held.lock().unwrap();
    check_fails(&place.run("mine", &["--set", "stage.0.steps=1"]), 2, "another run");
    drop(held);
    let done = place.run("mine", &["--set", "stage.0.steps=1"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let place = Place::new();
    let wild = ["--set", "stage.0.steps=1", "--set", "optimizer.lr=1e38"];
    check_fails(&place.run("out", &wild), 1, "is not finite after step 1");
    assert!(!place.file("out").join("model.safetensors").exists());
    assert!(!place.file("out").join("checkpoints/step-00000001").exists());
}

#[test]
fn check_tells_what_is_wrong_with_data() {
    let place = Place::new();
    let data = place.file("x.jsonl");
    std::fs::write(
        &data,
        "{\"query\":\"q\",\"pos\":\"sea\"}\n{\"query\":\"q\",\"docs\":[\"a\"],\"scores\":[NaN]}\n",
    )
    .unwrap();
    let check = |path: &Path| {
        let mut command = train();
        command.arg("check").arg(path).args(["--tokenizer", "testdata/toy", "--split", "test"]);
        command.output().unwrap()
    };
    let bad = check(&data);
    check_fails(&bad, 1, "want data that can be trained on");
    let told = String::from_utf8_lossy(&bad.stdout);
    assert!(told.contains("x.jsonl:2: want an example"), "{told}");
    assert!(told.contains("1 without negatives"), "{told}");
    let good = check(Path::new("testdata/demo"));
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
}

#[test]
fn mined_negatives_train() {
    let place = Place::new();
    let (vectors, index, mined) =
        (place.file("v.parquet"), place.file("d.l0x"), place.file("m.jsonl"));
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).output().unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program}: {told}");
        told
    };
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (vectors, index) = (path(&vectors), path(&index));
    let corpus = "testdata/demo/corpus.jsonl";
    let bm25 = ["--model", "bm25", "--tokenizer", "testdata/toy", corpus, "-o", &vectors];
    run(env!("CARGO_BIN_EXE_l0-encode"), &bm25);
    let build = [&vectors, "--tokenizer", "testdata/toy", "-o", &index];
    run(env!("CARGO_BIN_EXE_l0-index"), &build);
    let (queries, qrels) = ("testdata/demo/queries.jsonl", "testdata/demo/qrels/test.tsv");
    let out = path(&mined);
    let mine = ["mine", "--index", &index, "--model", "testdata/toy", queries, qrels, "-o", &out];
    let told = run(env!("CARGO_BIN_EXE_l0-train"), &mine);
    assert!(told.contains("60 queries with 480 negatives"), "{told}");
    let without = format!("data.0={{ path = \"{out}\" }}");
    check_fails(&place.run("out", &["--set", &without, "--dry-run"]), 1, "texts");
    let data = format!("data.0={{ path = \"{out}\", texts = \"testdata/demo\" }}");
    let more = ["--set", &data, "--set", "stage.0.steps=2", "--set", "stage.0.documents=4"];
    let done = place.run("out", &more);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
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
    let done = place.run("out", &few);
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && told.contains("the best so far"), "{told}");
    let found = evaluations(&place.file("out/train.jsonl"));
    let steps: Vec<_> = found.iter().map(|one| one["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [5, 10, 12]);
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(place.file(name)).unwrap()).unwrap()
    };
    assert_eq!(json("out/l0.json")["evaluation"], found[2]);
    // what was measured stays said when a run that is done is gone on with
    std::fs::remove_file(place.file("out/l0.json")).unwrap();
    assert!(place.run("out", &[&few[..], &["--resume"]].concat()).status.success());
    assert_eq!(json("out/l0.json")["evaluation"], found[2]);
    let best = &json("out/best/l0.json")["evaluation"];
    let mean = |one: &serde_json::Value| one["mean"].as_f64().unwrap();
    assert_eq!(mean(best), found.iter().map(mean).fold(0.0, f64::max));

    // the programs, on the directory that was kept
    let path = |name: &str| place.file(name).to_str().unwrap().to_owned();
    let run = |program: &str, args: &[&str]| {
        let done = Command::new(program).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let (model, vectors, index, hits) =
        (path("out/best"), path("v.parquet"), path("d.l0x"), path("d.run"));
    let demo = |name: &str| format!("testdata/demo/{name}");
    let encode = ["--model", &model, &demo("corpus.jsonl"), "-o", &vectors];
    run(env!("CARGO_BIN_EXE_l0-encode"), &encode);
    run(env!("CARGO_BIN_EXE_l0-index"), &[&vectors, "--model", &model, "-o", &index]);
    let query = [&index, &demo("queries.jsonl"), "-k", "1000", "--format", "trec", "-o", &hits];
    run(env!("CARGO_BIN_EXE_l0-query"), &query);
    let eval = [&demo("qrels/test.tsv"), &hits, "-m", "nDCG@10", "--format", "jsonl"];
    let line: serde_json::Value =
        serde_json::from_str(&run(env!("CARGO_BIN_EXE_l0-eval"), &eval)).unwrap();
    assert_eq!(line["value"].as_f64().unwrap(), mean(best));

    check_fails(&place.run("out", &few), 2, "out holds a run; go on with --resume");
    let nowhere = "evaluate={ every = 5, data = [\"testdata/toy-st\"] }";
    check_fails(&place.run("new", &["--set", nowhere]), 1, "test.tsv");
    let unknown = "evaluate={ every = 5, data = [\"testdata/demo\"], measure = \"goodness\" }";
    check_fails(&place.run("new", &["--set", unknown]), 2, "goodness");
}
