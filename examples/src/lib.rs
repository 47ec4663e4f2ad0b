//! What the programs share: devices, errors and the embedded files.

pub mod base_arguments;
#[cfg(doctest)]
mod book;
pub mod classification;
pub mod fine_tuning;
pub mod golden;
pub mod interrupt;
pub mod method_arguments;
pub mod run_folder;
pub mod squad;
pub mod training_arguments;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn::tensor::Device;
use lora_core::ops::{MatmulPrecision, has_lower_matmul_precision, set_matmul_precision};
use lora_core::{LoraError, best_device, compiled_backends};

/// The choice of a device on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DeviceArgument {
    /// Device to compute on, such as `flex`, `cuda` or `cuda:1` [default: the fastest compiled in]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// How exact large matrix products on the CPU are: highest, high or medium; the lower ones take a
    /// processor with tile units (AMX)
    #[arg(long, value_name = "NAME", default_value_t)]
    pub matmul_precision: MatmulPrecision,
}

impl DeviceArgument {
    /// Makes matrix products as exact as was asked for; what is to be added to the device's name.
    ///
    /// # Errors
    ///
    /// [`LoraError::MatmulPrecision`] if one of `devices` cannot do it.
    pub fn set_precision(&self, devices: &[Device]) -> Result<String, LoraError> {
        let precision = self.matmul_precision;
        if precision == MatmulPrecision::default() {
            return Ok(String::new());
        }
        if !devices.iter().all(has_lower_matmul_precision) {
            return Err(LoraError::MatmulPrecision { precision });
        }
        set_matmul_precision(precision)?;
        Ok(format!(", products of {precision} precision"))
    }

    /// Opens the device and says on standard output which it is.
    ///
    /// # Errors
    ///
    /// [`LoraError::Device`] if the backend is not compiled in or has no such device;
    /// [`LoraError::MatmulPrecision`].
    pub fn open(&self) -> Result<(String, Device), LoraError> {
        let (name, device, why) = match &self.device {
            Some(name) => (name.clone(), lora_core::device(name)?, "as asked"),
            None => {
                let (name, device) = best_device()?;
                (name.to_string(), device, "fastest compiled in")
            }
        };
        let precision = self.set_precision(std::slice::from_ref(&device))?;
        println!("{}{precision}", describe(&name, why, &compiled_backends()));
        Ok((name + &precision, device))
    }
}

fn describe(name: &str, why: &str, compiled: &[&str]) -> String {
    let backend = name.split(':').next().unwrap_or(name);
    let others: Vec<_> = compiled
        .iter()
        .copied()
        .filter(|other| *other != backend)
        .collect();
    match others.is_empty() {
        true => format!("device: {name} ({why}; no others)"),
        false => format!("device: {name} ({why}; others: {})", others.join(", ")),
    }
}

/// Runs a program; an error goes to standard error, with what caused it, and gives exit code 1.
pub fn run(program: impl FnOnce() -> Result<(), Box<dyn Error>>) -> ExitCode {
    #[cfg(unix)]
    interrupt::end_with_reader();
    // A second call finds the first one's.
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    match program() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", report(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Shows what the libraries of this project warn of, on standard error.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("lora_")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("warning: {}", record.args());
        }
    }

    fn flush(&self) {}
}

/// The message of an error, and of the causes that it does not repeat.
fn report(error: &dyn Error) -> String {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(&format!("\n  caused by: {message}"));
        }
        cause = error.source();
    }
    text
}

/// What was asked for, or else an embedded folder.
pub fn named(given: &Option<String>, embedded: &str) -> String {
    given
        .clone()
        .unwrap_or_else(|| asset(embedded).display().to_string())
}

/// The path of something in the repository's folder `assets`, relative if that is shorter.
pub fn asset(name: &str) -> PathBuf {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets")).join(name);
    let path = path.canonicalize().unwrap_or(path);
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf)) {
        Some(relative) => relative,
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_described_with_its_alternatives() {
        assert_eq!(
            describe("flex", "fastest compiled in", &["flex"]),
            "device: flex (fastest compiled in; no others)"
        );
        assert_eq!(
            describe("cuda:1", "as asked", &["cuda", "wgpu", "flex"]),
            "device: cuda:1 (as asked; others: wgpu, flex)"
        );
    }

    #[test]
    fn a_cause_is_reported_once() {
        let source = std::io::Error::other("disk full");
        let path = Path::new("a.txt");
        let error = LoraError::io("write", path, source);
        assert_eq!(report(&error), "error: cannot write a.txt: disk full");

        #[derive(Debug)]
        struct Outer(LoraError);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("nothing saved")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(
            report(&Outer(error)),
            "error: nothing saved\n  caused by: cannot write a.txt: disk full"
        );
    }

    #[test]
    fn the_embedded_data_is_there() {
        for file in [
            "reviews/train.tsv",
            "restaurants/train.txt",
            "questions/train.json",
            "roberta-tiny/model.safetensors",
            "gpt2-tiny/model.safetensors",
        ] {
            assert!(asset(file).is_file(), "{file}");
        }
    }
}
