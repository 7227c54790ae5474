//! The licences and sources of dependencies follow the rules in `deny.toml`.

mod common;

use std::process::Command;

use common::{root, run, skip_data, tool};

#[test]
fn dependencies_keep_the_rules_of_deny_toml() {
    if tool("cargo-deny").is_none() {
        // Never required: building cargo-deny takes minutes.
        return skip_data("licences of dependencies", "cargo-deny is missing");
    }
    // Advisories and yanked versions need a database from the network.
    run(Command::new("cargo").current_dir(root()).args(["deny", "--locked", "check", "licenses", "bans", "sources"]));
}
