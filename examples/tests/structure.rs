//! The modules of a crate form no circles: what one of them uses does not use it in turn. Every crate says what crates.io and
//! docs.rs need to know, and uses what it depends on.
//!
//! Modules are those directly below a crate's root; inside of one, files may use each other. Uses are found in the text of the
//! sources: paths that begin with `crate` or `super`, resolved through what the root re-exports. Tests do not count.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Uses between modules: from, to, and a place where one is.
type Uses = BTreeMap<(String, String), String>;

#[test]
fn modules_of_a_crate_form_no_circles() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut sources: Vec<PathBuf> = fs::read_dir(crates).unwrap().map(|entry| entry.unwrap().path().join("src")).collect();
    sources.sort();
    assert!(sources.len() > 1);
    let mut found = Vec::new();
    for source in sources {
        let uses = uses(&source);
        assert!(!uses.is_empty(), "{}: no module uses another", source.display());
        for circle in circles(&uses) {
            let is_inside = |(from, to): &(String, String)| circle.contains(from) && circle.contains(to);
            let inside = uses.iter().filter(|(edge, _)| is_inside(edge));
            let lines: Vec<String> = inside.map(|((from, to), place)| format!("  {from} -> {to}: {place}")).collect();
            found.push(format!("{}: {}\n{}", source.display(), circle.join(", "), lines.join("\n")));
        }
    }
    assert!(found.is_empty(), "modules that use each other:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_through_groups_parents_and_exports() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\nmod d;\npub use c::{inner::Thing as Other, See};");
    write("a.rs", "use std::fmt;\nuse crate::{b as beside, Missing};");
    write("b/mod.rs", "pub mod deep;\n// crate::d\nconst TEXT: &str = \"crate::d\";\nmod inline { fn f() { super::d(); } }");
    write("b/deep.rs", "fn f(_: super::super::c::C) {}");
    write("c.rs", "#[cfg(test)]\nmod tests { use crate::d::D; }\nstruct C<'a>(&'a str, char);");
    write("d.rs", "use super::Other;\nfn g() { crate::a::f::<'x', { '\\'' }>() }");
    let edges: Vec<(String, String)> = uses(folder.path()).into_keys().collect();
    let expected = [("a", "b"), ("b", "c"), ("d", "a"), ("d", "c")].map(|(from, to)| (from.to_string(), to.to_string()));
    assert_eq!(edges, expected);
    assert!(circles(&uses(folder.path())).is_empty());
    write("c.rs", "use crate::a;");
    assert_eq!(circles(&uses(folder.path())), [["a", "b", "c"]]);
}

/// The packages in `crates`, as cargo reads their Cargo.toml.
fn packages() -> Vec<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"];
    let told = std::process::Command::new(env!("CARGO")).args(arguments).arg(&workspace).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let Value::Array(packages) = told["packages"].take() else { panic!("no packages") };
    let is_published = |package: &Value| package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
    packages.into_iter().filter(is_published).collect()
}

/// The names in a list of texts.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().map_or_else(Vec::new, |list| list.iter().filter_map(Value::as_str).collect())
}

#[test]
fn every_crate_says_what_the_registry_and_the_documentation_need() {
    let (packages, mut lacking) = (packages(), Vec::new());
    assert!(packages.len() > 10, "{} crates are published", packages.len());
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let mut needs = |what: String, is_there: bool| {
            if !is_there {
                lacking.push(format!("{name}: {what}"));
            }
        };
        for key in ["description", "readme", "license", "repository", "rust_version"] {
            needs(key.into(), package[key].as_str().is_some_and(|value| !value.is_empty()));
        }
        needs("a README of its own".into(), package["readme"] == "README.md" && folder.join("README.md").is_file());
        let root = fs::read_to_string(folder.join("src/lib.rs"));
        let is_page = root.is_ok_and(|root| root.starts_with("#![doc = include_str!(\"../README.md\")]"));
        needs("its README as the page of docs.rs".into(), is_page || !folder.join("src/lib.rs").is_file());
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            needs(file.into(), folder.join(file).is_file());
        }
        // As many as crates.io takes, and of the form that it takes.
        let keywords = texts(&package["keywords"]);
        let is_keyword =
            |word: &&str| word.len() <= 20 && word.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-');
        needs("one to five keywords".into(), (1..=5).contains(&keywords.len()) && keywords.iter().all(is_keyword));
        needs("one to five categories".into(), (1..=5).contains(&texts(&package["categories"]).len()));
        let documented = &package["metadata"]["docs"]["rs"];
        needs("metadata for docs.rs".into(), !texts(&documented["targets"]).is_empty());
        for feature in texts(&documented["features"]) {
            needs(format!("the feature {feature}, which docs.rs builds"), package["features"].get(feature).is_some());
        }
        // Another crate of the workspace is one of crates.io for whoever has this one from there.
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_ours = dependency["path"].is_string() && dependency["kind"].is_null();
            needs(format!("a version of {}", dependency["name"]), !is_ours || dependency["req"] != "*");
        }
    }
    assert!(lacking.is_empty(), "what is lacking:\n{}", lacking.join("\n"));
}

/// What is particular to a base is in its folder of `families`; the miniature's world and its program have crates of their own.
#[test]
fn no_generic_crate_asks_which_base_it_is() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let families = ["smolvlm2", "internvideo2_chat", "miniature"].map(|name| format!("\"{name}\""));
    let mut asking = Vec::new();
    for entry in fs::read_dir(&crates).unwrap() {
        let folder = entry.unwrap().path();
        if ["pvchat-miniature", "pvchat-cli"].iter().any(|own| folder.ends_with(own)) {
            continue;
        }
        for file in files(&folder.join("src")) {
            let text = fs::read_to_string(&file).unwrap();
            let is_family = file.components().any(|part| part.as_os_str() == "families");
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//") && !line.contains("feature = "));
            let named = lines.filter(|line| families.iter().any(|name| line.contains(name)) || line.contains(".family =="));
            asking.extend(named.filter(|_| !is_family).map(|line| format!("{}: {}", file.display(), line.trim())));
        }
    }
    assert!(asking.is_empty(), "these lines ask which base it is:\n{}", asking.join("\n"));
}

#[test]
fn every_dependency_of_a_crate_is_named_in_its_sources() {
    let mut unused = Vec::new();
    for package in packages() {
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let mut names = BTreeSet::new();
        for file in files(&folder.join("src")) {
            names.extend(tokens(&fs::read_to_string(&file).unwrap()).into_iter().map(|(token, _)| token));
        }
        for dependency in package["dependencies"].as_array().unwrap().iter().filter(|one| one["kind"].is_null()) {
            let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
            if !names.contains(&name.replace('-', "_")) {
                unused.push(format!("{}: {name}", package["name"]));
            }
        }
    }
    assert!(unused.is_empty(), "dependencies that no source names:\n{}", unused.join("\n"));
}

/// What every module below the root in `source` uses of the others.
fn uses(source: &Path) -> Uses {
    let root = ["lib.rs", "main.rs"].map(|name| source.join(name)).into_iter().find(|root| root.is_file()).unwrap();
    let tokens = tokens(&fs::read_to_string(&root).unwrap());
    let mut modules = BTreeSet::new();
    let mut exports = BTreeMap::new();
    for (place, (token, _)) in tokens.iter().enumerate() {
        let after = |ahead: usize| tokens.get(place + ahead).map_or("", |(token, _)| token.as_str());
        match token.as_str() {
            "mod" if after(2) == ";" => {
                modules.insert(after(1).to_string());
            }
            "use" => {
                for path in paths(&tokens, place + 1) {
                    let path = if ["crate", "self"].contains(&path[0].as_str()) { &path[1..] } else { &path };
                    if let [first, .., last] = path {
                        exports.insert(last.clone(), first.clone());
                    }
                }
            }
            _ => {}
        }
    }
    let mut uses = Uses::new();
    for file in files(source) {
        let inside = file.strip_prefix(source).unwrap().with_extension("");
        let mut names: Vec<String> = inside.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if names.contains(&"tests".to_string()) || file == root {
            continue;
        }
        if names.last().is_some_and(|last| last == "mod") {
            names.pop();
        }
        for (line, path) in outer_paths(&fs::read_to_string(&file).unwrap(), names.len()) {
            let first = &path[0];
            let module =
                if modules.contains(first) { Some(first) } else { exports.get(first).filter(|name| modules.contains(*name)) };
            if let Some(module) = module.filter(|module| **module != names[0]) {
                let place = format!("{}:{line}", inside.with_extension("rs").display());
                uses.entry((names[0].clone(), module.clone())).or_insert(place);
            }
        }
    }
    uses
}

/// Every source file in a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The paths of a file that lead to the crate's root, without what leads there, and their lines. The file's module is `depth` below
/// the root.
fn outer_paths(text: &str, depth: usize) -> Vec<(usize, Vec<String>)> {
    let tokens = tokens(text);
    let token = |place: usize| tokens.get(place).map_or("", |(token, _)| token.as_str());
    let mut found = Vec::new();
    // Open braces, and whether each is that of a module.
    let mut braces: Vec<bool> = Vec::new();
    let mut place = 0;
    while place < tokens.len() {
        match token(place) {
            "{" => braces.push(place >= 2 && token(place - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            "crate" if token(place + 1) == "::" => {
                found.extend(paths(&tokens, place + 2).into_iter().map(|path| (tokens[place].1, path)));
            }
            "super" if token(place + 1) == "::" && (place == 0 || token(place - 1) != "::") => {
                let mut after = place;
                while token(after) == "super" && token(after + 1) == "::" {
                    after += 2;
                }
                let here = depth + braces.iter().filter(|is_module| **is_module).count();
                if (after - place) / 2 == here {
                    found.extend(paths(&tokens, after).into_iter().map(|path| (tokens[place].1, path)));
                }
            }
            // A module of tests is passed over as a whole.
            "#" => {
                let end = closing(&tokens, place + 1, ["[", "]"]);
                let is_test = (place..end).any(|place| token(place) == "test");
                let is_module = |place: usize| token(place) == "mod" && token(place + 2) == "{";
                if is_test && is_module(end + 1) {
                    place = closing(&tokens, end + 3, ["{", "}"]);
                }
            }
            _ => {}
        }
        place += 1;
    }
    found.retain(|(_, path)| !path.is_empty());
    found
}

/// The place of the bracket that closes the one at `open`.
fn closing(tokens: &[(String, usize)], open: usize, [opens, closes]: [&str; 2]) -> usize {
    let mut depth = 0;
    for (place, (token, _)) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token == opens) - i32::from(token == closes);
        if depth <= 0 {
            return place;
        }
    }
    tokens.len()
}

/// The paths of the tree that begins at a place: `a::{b, c as d}` are `a::b` and `a::c::d`.
fn paths(tokens: &[(String, usize)], start: usize) -> Vec<Vec<String>> {
    tree(tokens, start).0
}

/// The paths of a tree, and where it ends.
fn tree(tokens: &[(String, usize)], start: usize) -> (Vec<Vec<String>>, usize) {
    let token = |place: usize| tokens.get(place).map_or("", |(token, _)| token.as_str());
    if token(start) == "{" {
        let (mut all, mut place) = (Vec::new(), start + 1);
        while place < tokens.len() && token(place) != "}" {
            let (found, end) = tree(tokens, place);
            all.extend(found);
            place = end.max(place + 1);
            if token(place) == "," {
                place += 1;
            }
        }
        return (all, place + 1);
    }
    let name = token(start).to_string();
    match (token(start + 1), token(start + 2)) {
        ("::", next) if next != "<" => {
            let (mut rest, end) = tree(tokens, start + 2);
            rest.iter_mut().for_each(|path| path.insert(0, name.clone()));
            (rest, end)
        }
        ("as", other) => (vec![vec![name, other.to_string()]], start + 3),
        _ => (vec![vec![name]], start + 1),
    }
}

/// Names, `::` and single marks, each with its line; without comments, texts and characters.
fn tokens(text: &str) -> Vec<(String, usize)> {
    let letters: Vec<char> = text.chars().collect();
    let at = |place: usize| letters.get(place).copied().unwrap_or('\n');
    let (mut found, mut place, mut line) = (Vec::new(), 0, 1);
    while place < letters.len() {
        let start = place;
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        match (at(place), at(place + 1)) {
            ('/', '/') => {
                while place < letters.len() && at(place) != '\n' {
                    place += 1;
                }
            }
            ('/', '*') => {
                while place < letters.len() && (at(place), at(place + 1)) != ('*', '/') {
                    place += 1;
                }
                place += 2;
            }
            ('r', '"' | '#')
                if at(place + 1) == '"' || letters[place + 1..].iter().find(|letter| **letter != '#') == Some(&'"') =>
            {
                let marks = letters[place + 1..].iter().take_while(|letter| **letter == '#').count();
                place += 2 + marks;
                while place < letters.len() && !(at(place) == '"' && (1..=marks).all(|mark| at(place + mark) == '#')) {
                    place += 1;
                }
                place += 1 + marks;
            }
            ('"', _) => {
                place += 1;
                while place < letters.len() && at(place) != '"' {
                    place += if at(place) == '\\' { 2 } else { 1 };
                }
                place += 1;
            }
            ('\'', '\\') => {
                place += 3;
                while place < letters.len() && at(place) != '\'' {
                    place += 1;
                }
                place += 1;
            }
            ('\'', _) => place += if at(place + 2) == '\'' { 3 } else { 1 },
            (':', ':') => {
                found.push(("::".to_string(), line));
                place += 2;
            }
            (letter, _) if is_name(letter) => {
                while place < letters.len() && is_name(at(place)) {
                    place += 1;
                }
                found.push((letters[start..place].iter().collect(), line));
            }
            (letter, _) => {
                if !letter.is_whitespace() {
                    found.push((letter.to_string(), line));
                }
                place += 1;
            }
        }
        line += letters[start..place.min(letters.len())].iter().filter(|letter| **letter == '\n').count();
    }
    found
}

/// Groups of modules each of which uses, by way of others, every other and itself.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let reached = |module: &String| {
        let (mut found, mut open) = (BTreeSet::new(), vec![module.clone()]);
        while let Some(next) = open.pop() {
            for (_, to) in uses.keys().filter(|(from, _)| *from == next) {
                if found.insert(to.clone()) {
                    open.push(to.clone());
                }
            }
        }
        found
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = uses.keys().map(|(from, _)| (from, reached(from))).collect();
    let mut found = BTreeSet::new();
    for (module, its) in &reached {
        let circle: Vec<String> =
            its.iter().filter(|other| reached.get(other).is_some_and(|back| back.contains(*module))).cloned().collect();
        if circle.contains(module) {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}
