//! What cargo says about this workspace: its target directory and its packages.
//!
//! Asked from cargo itself (`cargo metadata --no-deps`, which needs no network), so that a target directory
//! moved by the environment or a configuration file is found too. Fails when cargo cannot read a manifest.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The workspace as cargo sees it.
pub(crate) struct Workspace {
    pub(crate) target_directory: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// One package of the workspace.
pub(crate) struct Package {
    pub(crate) name: String,
    /// The packages it names as normal or build dependencies; those for tests alone are left out.
    pub(crate) dependencies: Vec<String>,
}

impl Workspace {
    /// Reads the workspace that this program was built in.
    pub(crate) fn read() -> Result<Self> {
        let manifest = root().join("Cargo.toml");
        let output = cargo()
            .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
            .arg(&manifest)
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata cannot read {}", manifest.display());
        }
        Self::parse(&output.stdout)
    }

    pub(crate) fn has_package(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }

    fn parse(json: &[u8]) -> Result<Self> {
        let value: Value = serde_json::from_slice(json).context("cargo metadata did not print JSON")?;
        let packages = value["packages"].as_array().context("cargo metadata names no packages")?;
        Ok(Self {
            target_directory: PathBuf::from(text(&value, "target_directory")?),
            packages: packages.iter().map(Package::parse).collect::<Result<_>>()?,
        })
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Self> {
        let dependencies = value["dependencies"].as_array().context("a package without dependencies")?;
        let dependencies = dependencies
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .map(|dependency| text(dependency, "name"))
            .collect::<Result<_>>()?;
        Ok(Self { name: text(value, "name")?, dependencies })
    }
}

/// The directory that holds the workspace's Cargo.toml.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// A command that runs cargo at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn text(value: &Value, key: &str) -> Result<String> {
    Ok(value[key].as_str().with_context(|| format!("cargo metadata gives no {key}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_for_tests_alone_are_left_out() {
        let json = br#"{"target_directory": "/t", "packages": [{"name": "a", "dependencies": [
            {"name": "normal", "kind": null}, {"name": "build", "kind": "build"}, {"name": "dev", "kind": "dev"}]}]}"#;
        let workspace = Workspace::parse(json).unwrap();
        assert_eq!(workspace.packages[0].dependencies, ["normal", "build"]);
        assert!(workspace.has_package("a") && !workspace.has_package("normal"));
    }

    #[test]
    fn this_workspace_can_be_read() {
        let workspace = Workspace::read().unwrap();
        assert!(workspace.has_package("xtask"));
        assert!(root().join("xtask/src/main.rs").exists());
    }
}
