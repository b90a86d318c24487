//! Programs from outside: a folder to work in, a run with bytes on standard input, and what came of it.
//! The one way in which tests run programs.

use std::{
    ffi::OsStr,
    fmt,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
};

use tempfile::TempDir;

/// The folder that has the five programs.
pub fn programs() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_l0-encode")).parent().unwrap()
}

/// Arguments of a program: words separated by blanks, or a list.
pub trait Arguments {
    fn words(&self) -> Vec<String>;
}

impl Arguments for str {
    fn words(&self) -> Vec<String> {
        self.split_whitespace().map(str::to_owned).collect()
    }
}

impl Arguments for String {
    fn words(&self) -> Vec<String> {
        self.as_str().words()
    }
}

impl<S: AsRef<str>> Arguments for [S] {
    fn words(&self) -> Vec<String> {
        self.iter().map(|word| word.as_ref().to_owned()).collect()
    }
}

impl<S: AsRef<str>, const N: usize> Arguments for [S; N] {
    fn words(&self) -> Vec<String> {
        self.as_slice().words()
    }
}

impl<S: AsRef<str>> Arguments for Vec<S> {
    fn words(&self) -> Vec<String> {
        self.as_slice().words()
    }
}

/// A folder of its own, removed at the end. `testdata` in it is the repository's, so that commands
/// and messages carry the same short names everywhere.
pub struct Work(TempDir);

impl Work {
    pub fn new() -> Work {
        let folder = tempfile::tempdir().unwrap();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        std::os::unix::fs::symlink(data, folder.path().join("testdata")).unwrap();
        Work(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// The names in the folder, hidden ones too, without `testdata`.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "testdata").collect();
        names.sort();
        names
    }

    /// A program, ours by its bare name, to be run in this folder.
    pub fn command(&self, program: &str, arguments: &(impl Arguments + ?Sized)) -> Command {
        let mut command = match program.starts_with("l0-") {
            true => Command::new(programs().join(program)),
            false => Command::new(program),
        };
        command.args(arguments.words()).current_dir(self.0.path());
        command
    }

    /// Runs a program in this folder to its end, with these bytes on standard input.
    pub fn run(
        &self,
        program: &str,
        arguments: &(impl Arguments + ?Sized),
        stdin: impl AsRef<[u8]>,
    ) -> Run {
        run(self.command(program, arguments), stdin.as_ref())
    }

    /// A line for the shell, as a user types it: the programs are found by their bare names.
    pub fn shell(&self, line: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [programs().as_os_str(), path.as_os_str()].join(OsStr::new(":"));
        let mut command = Command::new("bash");
        command.args(["-c", line]).env("PATH", path).current_dir(self.0.path());
        command
    }
}

/// What came of a program. Shown whole when a check fails.
#[derive(Clone)]
pub struct Run {
    command: String,
    output: Output,
}

/// Runs a program to its end, with these bytes on standard input.
pub fn run(mut command: Command, stdin: &[u8]) -> Run {
    let shown = format!("{command:?}");
    let mut child = start(&mut command);
    let mut pipe = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // a program may end before it has read everything
        scope.spawn(move || pipe.write_all(stdin));
        child.wait_with_output().unwrap()
    });
    Run { command: shown, output }
}

/// Starts a program with pipes at all three ends.
pub fn start(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

impl Run {
    /// What became of a program that was started and is waited for.
    pub fn of(child: Child) -> Run {
        Run { command: "a program".into(), output: child.wait_with_output().unwrap() }
    }

    #[track_caller]
    pub fn exits(self, status: i32) -> Run {
        assert_eq!(self.output.status.code(), Some(status), "{self}");
        self
    }

    /// Stderr has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stderr().contains(text), "expected on stderr: {text}\n{self}");
        self
    }

    /// Stdout has this text.
    #[track_caller]
    pub fn prints(self, text: &str) -> Run {
        assert!(self.stdout_text().contains(text), "expected on stdout: {text}\n{self}");
        self
    }

    /// Neither stdout nor stderr has anything.
    #[track_caller]
    pub fn silent(self) -> Run {
        assert!(self.output.stdout.is_empty() && self.output.stderr.is_empty(), "{self}");
        self
    }

    /// The exit status, none after a signal.
    pub fn status(&self) -> Option<i32> {
        self.output.status.code()
    }

    pub fn stdout(&self) -> &[u8] {
        &self.output.stdout
    }

    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout: String = self.stdout_text().chars().take(2000).collect();
        let (status, stderr) = (self.output.status, self.stderr());
        write!(f, "{}\n{status}\nstdout: {stdout}\nstderr: {stderr}", self.command)
    }
}
