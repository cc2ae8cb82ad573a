//! Descriptor sets: as a file holds them, or compiled from `.proto` files, for which no protoc is needed.

use std::path::Path;

use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::files::Files;
use crate::units::Problem;

/// The descriptor set in a file, or of a `.proto` file and all that it imports from its folder.
///
/// # Errors
/// It can't be read or compiled.
pub fn read(path: &Path, files: &mut Files) -> Result<Vec<u8>, Problem> {
    let bytes = files.read(path)?;
    match path.extension() {
        Some(extension) if extension == "proto" => compile(path),
        _ => Ok(bytes),
    }
}

/// Compiles a `.proto` file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn compile(path: &Path) -> Result<Vec<u8>, Problem> {
    let wrong = |error: protox::Error| Problem::new("bad-descriptor", format!("{}: {error}", path.display()));
    let (Some(name), folder) = (path.file_name(), path.parent()) else {
        return Err(Problem::new("bad-descriptor", format!("{} is no file", path.display())));
    };
    let mut resolver = ChainFileResolver::new();
    resolver.add(IncludeFileResolver::new(folder.unwrap_or(Path::new(".")).to_owned()));
    resolver.add(Annotations);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(Path::new(name)).map_err(wrong)?;
    Ok(compiler.encode_file_descriptor_set())
}

/// `google/api/annotations.proto` and what it imports, for who does not have them at hand.
#[derive(Debug)]
struct Annotations;

impl FileResolver for Annotations {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "google/api/annotations.proto" => File::from_source(name, ANNOTATIONS),
            "google/api/http.proto" => File::from_source(name, HTTP),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

const ANNOTATIONS: &str = r#"
syntax = "proto3";
package google.api;
import "google/api/http.proto";
import "google/protobuf/descriptor.proto";
extend google.protobuf.MethodOptions { HttpRule http = 72295728; }
"#;

/// The fields, names and numbers that the annotation has on the wire.
const HTTP: &str = r#"
syntax = "proto3";
package google.api;
message HttpRule {
  string selector = 1;
  oneof pattern {
    string get = 2;
    string put = 3;
    string post = 4;
    string delete = 5;
    string patch = 6;
    CustomHttpPattern custom = 8;
  }
  string body = 7;
  repeated HttpRule additional_bindings = 11;
  string response_body = 12;
}
message CustomHttpPattern {
  string kind = 1;
  string path = 2;
}
"#;
