//! The manual page and the shells' completions, made from the declaration of the command line so that they cannot
//! differ from it.
//!
//! The page is one for all commands: each has a section of its own behind the general ones. It is roff with the macros
//! of man(7).

use std::io;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::{Cli, Shell};
use crate::exit;

const NAME: &str = "butler-sos";

/// The manual page.
///
/// # Errors
/// None that is known: it is written into memory.
pub fn page() -> io::Result<String> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let man = Man::new(root.clone()).title(NAME.to_uppercase()).manual("Butler SOS");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    out.extend_from_slice(BEHAVIOUR.as_bytes());
    man.render_options_section(&mut out)?;
    for command in root.get_subcommands() {
        out.extend_from_slice(format!(".SH \"COMMAND {}\"\n", heading(command)).as_bytes());
        of_command(command, &[&root], &mut out)?;
    }
    out.extend_from_slice(exit_status().as_bytes());
    out.extend_from_slice(REST.as_bytes());
    // Of what we have written ourselves and of clap's texts alone.
    String::from_utf8(out).map_err(io::Error::other)
}

const BEHAVIOUR: &str = r#".PP
Without a command the server runs. Settings come from built\-in defaults, the files of
.BR \-c ,
the environment
.RB ( BUTLER_SOS__Pipeline__journal__directory=\(dq...\(dq )
and
.BR \-\-set ,
each winning over those before it. A configuration file of Butler SOS 15 works as it is.
.BR status ,
.BR top ,
.BR tail ,
.B dlq
and
.B replay
ask a running server, by its operations API: the one that the configuration names, or
.BR \-\-server .
"#;

const REST: &str = r#".SH FILES
.TP
.I /etc/butler\-sos/butler\-sos.yaml
configuration, as the systemd unit gives it
.TP
.I /var/lib/butler\-sos
journal, dead letters, quarantine and files, as the systemd unit has them
.SH "SEE ALSO"
The directory
.I docs
of the distribution: install, migrate, operating, security, troubleshooting;
.I conf/full.yaml
has every setting, its default and why.
"#;

fn exit_status() -> String {
    let codes = [
        (exit::OK, "told to stop, or done, everything in order"),
        (exit::USAGE, "the command line is invalid"),
        (
            exit::UNAVAILABLE,
            "a resource is not available: a port is in use, a directory is not writable, the journal is locked, no server responds",
        ),
        (exit::SUPERVISION, "an actor kept panicking; the service manager shall start the process anew"),
        (exit::CONFIG, "the configuration holds mistakes"),
    ];
    let rows = codes.map(|(code, detail)| format!(".TP\n.B {code}\n{detail}\n"));
    format!(".SH \"EXIT STATUS\"\n{}", rows.concat())
}

/// `dlq list`, in capitals as headings are.
fn heading(command: &Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    name.strip_prefix(NAME).unwrap_or(name).trim().to_uppercase().replace('-', "\\-")
}

/// A command below `ancestors`, whose options are told there, and the commands below it.
fn of_command(command: &Command, ancestors: &[&Command], out: &mut Vec<u8>) -> io::Result<()> {
    let is_told = |id: &str| {
        id == "help" || ancestors.iter().any(|of| of.get_arguments().any(|reported| reported.get_id() == id))
    };
    let own = command.clone().mut_args(|argument| {
        let hidden = is_told(argument.get_id().as_str());
        argument.hide(hidden)
    });
    let has_options = own.get_arguments().any(|argument| !argument.is_hide_set());
    let man = Man::new(own);
    let mut text = Vec::new();
    man.render_description_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    if has_options {
        man.render_options_section(&mut text)?;
    }
    // Sections of a page of its own are parts of a section here; the heading says what the description is.
    let text = String::from_utf8_lossy(&text).replace(".SH DESCRIPTION\n", "").replace(".SH ", ".SS ");
    out.extend_from_slice(text.as_bytes());
    let below: Vec<&Command> = ancestors.iter().copied().chain([command]).collect();
    for command in command.get_subcommands() {
        out.extend_from_slice(format!(".SH \"COMMAND {}\"\n", heading(command)).as_bytes());
        of_command(command, &below, out)?;
    }
    Ok(())
}

/// What makes a shell complete our commands and options.
#[must_use]
pub fn completions(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut out);
    // In what clap_complete 4.6 makes for bash, the dash in our name is spelled in two ways, and nothing behind a
    // command would be completed.
    String::from_utf8_lossy(&out).replace("butler__subcmd__sos", "butler__sos")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command as Process, Output, Stdio};

    use super::*;

    /// What a program that reads `input` says.
    fn run_with_input(program: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Process::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let mut to_program = child.stdin.take().expect("a pipe");
        let input = input.to_owned();
        let writer = std::thread::spawn(move || {
            let _ = to_program.write_all(input.as_bytes());
        });
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("it is written");
        output
    }

    #[test]
    fn the_page_names_every_command_and_option() {
        let page = page().expect("a page");
        assert!(page.starts_with(".ie") || page.starts_with(".TH BUTLER"), "{page:.100}");
        let mut commands = vec![{
            let mut root = Cli::command().disable_help_subcommand(true);
            root.build();
            root
        }];
        let mut seen = 0;
        while let Some(command) = commands.pop() {
            seen += 1;
            for long in command.get_arguments().filter_map(|argument| argument.get_long()) {
                let shown = format!("\\-\\-{}", long.replace('-', "\\-"));
                assert!(page.contains(&shown), "{}: {shown}", command.get_name());
            }
            for below in command.get_subcommands() {
                assert!(
                    page.contains(&format!(".SH \"COMMAND {}\"", heading(below))),
                    "{}",
                    below.get_name()
                );
                commands.push(below.clone());
            }
        }
        assert!(seen > 12, "{seen}");
        // An option of all commands is told once.
        assert_eq!(page.matches("\\fB\\-\\-loglevel\\fR \\fI<LEVEL>\\fR\n").count(), 1);
    }

    #[test]
    fn groff_has_nothing_to_find_fault_with() {
        let page = page().expect("a page");
        let output = run_with_input("groff", &["-man", "-ww", "-Tutf8", "-Kutf8", "-z"], &page);
        let detail = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && detail.is_empty(), "{detail}");
    }

    #[test]
    fn bash_completes_what_there_is() {
        let script = completions(Shell::Bash)
            + "\nsos=$(complete -p butler-sos); sos=${sos#* -F }; sos=${sos%% *}\
               \nCOMP_WORDS=(butler-sos st); COMP_CWORD=1; $sos butler-sos st butler-sos; echo \"${COMPREPLY[*]}\"\
               \nCOMP_WORDS=(butler-sos dlq ''); COMP_CWORD=2; $sos butler-sos '' dlq; echo \"${COMPREPLY[*]}\"\
               \nCOMP_WORDS=(butler-sos print-log4net --l); COMP_CWORD=2; $sos butler-sos --la print-log4net; echo \"${COMPREPLY[*]}\"\n";
        let output = run_with_input("bash", &["--norc", "-eu"], &script);
        let detail = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && detail.is_empty(), "{detail}");
        let replies = String::from_utf8_lossy(&output.stdout);
        let mut lines = replies.lines();
        assert_eq!(lines.next(), Some("status"), "{replies}");
        let tasks = lines.next().unwrap_or_default();
        assert!(["list", "show", "retry", "drop"].iter().all(|task| tasks.contains(task)), "{tasks}");
        assert_eq!(lines.next(), Some("--layout"), "{replies}");
    }

    #[test]
    fn every_shell_has_its_own() {
        assert!(completions(Shell::Zsh).starts_with("#compdef butler-sos"));
        assert!(completions(Shell::Fish).contains("complete -c butler-sos"));
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let text = completions(shell);
            for command in ["status", "top", "tail", "dlq", "replay", "completions", "man"] {
                assert!(text.contains(command), "{shell:?}: {command}");
            }
        }
    }
}
