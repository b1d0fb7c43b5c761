//! What the decoder alone takes for eight uniform frames, the floor under any loader that gives exact frames: only the
//! packets that they need, in memory already, to a decoder that is open already; nothing is converted.
//! `decoder_alone THREADS FILE...` prints medians of 5 for threads that share frames, and for threads that share a frame.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ffmpeg_next as ffmpeg;

use ffmpeg::{Dictionary, Packet, codec, decoder, ffi, frame, media};
use pvchat_video::{VideoReader, sampling};

#[path = "../src/units.rs"]
mod units;

type AnyError = Box<dyn std::error::Error>;

/// Packets that are decoded in one go, and whether each is one of the eight.
type Group = Vec<(Packet, bool)>;

fn needed(path: &Path) -> Result<(codec::Parameters, Vec<Group>), AnyError> {
    let numbers = sampling::uniform_indices(VideoReader::open(path)?.frame_count()?, 8);
    let mut input = ffmpeg::format::input(path)?;
    let stream = input.streams().best(media::Type::Video).ok_or("no video")?;
    let (index, parameters) = (stream.index(), stream.parameters());
    let mut packets = Vec::new();
    for (of, packet) in input.packets() {
        packets.extend((of.index() == index).then_some(packet));
    }
    // An edit list may hide the first packets.
    let is_shown = |place: &usize| packets[*place].flags().bits() & ffi::AV_PKT_FLAG_DISCARD == 0;
    let mut shown: Vec<usize> = (0..packets.len()).filter(is_shown).collect();
    shown.sort_by_key(|place| packets[*place].pts());
    let wanted: BTreeSet<usize> = numbers.iter().map(|number| shown[*number]).collect();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for place in &wanted {
        let starts = |key: &usize| packets[*key].is_key() && packets[*key].pts() <= packets[*place].pts();
        let key = (0..=*place).rev().find(starts).unwrap_or(0);
        match ranges.last_mut() {
            Some((first, last)) if key <= *last + 1 => (*first, *last) = (key.min(*first), *place),
            _ => ranges.push((key, *place)),
        }
    }
    // SAFETY: the parameters are owned by the open input; their description has `extradata_size` bytes, or is null.
    let units = unsafe {
        let parameters = &*parameters.as_ptr();
        let size = usize::try_from(parameters.extradata_size)?;
        let described = !parameters.extradata.is_null();
        let description = if described { std::slice::from_raw_parts(parameters.extradata, size) } else { &[] };
        units::Units::of(parameters.codec_id.into(), description)
    };
    let unreferenced = |packet: &Packet| units.zip(packet.data()).is_some_and(|(units, data)| units.is_unreferenced(data));
    let kept = |place: usize| wanted.contains(&place) || !unreferenced(&packets[place]);
    let group =
        |(key, last)| (key..=last).filter(|place| kept(*place)).map(|place| (packets[place].clone(), wanted.contains(&place)));
    Ok((parameters, ranges.into_iter().map(|range| group(range).collect()).collect()))
}

/// Decodes all groups; how many frames came out.
fn decode(decoder: &mut decoder::Video, skips: bool, groups: &[Group]) -> Result<usize, AnyError> {
    let mut frames = 0;
    for group in groups {
        decoder.flush();
        for (packet, is_wanted) in group {
            let skip = if *is_wanted || !skips { ffi::AVDiscard::AVDISCARD_DEFAULT } else { ffi::AVDiscard::AVDISCARD_NONREF };
            // SAFETY: the decoder is open; the field may be written between two packets.
            unsafe { (*decoder.as_mut_ptr()).skip_frame = skip };
            decoder.send_packet(packet)?;
            while decoder.receive_frame(&mut frame::Video::empty()).is_ok() {
                frames += 1;
            }
        }
        decoder.send_eof()?;
        while decoder.receive_frame(&mut frame::Video::empty()).is_ok() {
            frames += 1;
        }
    }
    Ok(frames)
}

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args_os().skip(1);
    let threads = arguments.next().and_then(|text| text.into_string().ok()).ok_or("usage: decoder_alone THREADS FILE...")?;
    for path in arguments {
        let path = Path::new(&path);
        let (parameters, groups) = needed(path)?;
        print!("{:24} {:4} packets", path.file_name().unwrap_or_default().to_string_lossy(), groups.concat().len());
        let skips = matches!(parameters.id(), codec::Id::H264 | codec::Id::MPEG4);
        for kind in ["frame", "slice"] {
            let options: Dictionary = [("threads", threads.as_str()), ("thread_type", kind)].into_iter().collect();
            let codec = decoder::find(parameters.id()).ok_or("no decoder")?;
            let context = codec::Context::from_parameters(parameters.clone())?;
            let mut decoder = context.decoder().open_as_with(codec, options)?.video()?;
            let mut times = Vec::new();
            for _ in 0..6 {
                let start = Instant::now();
                let frames = decode(&mut decoder, skips, &groups)?;
                times.push(start.elapsed());
                assert!(frames >= groups.iter().flatten().filter(|(_, wanted)| *wanted).count(), "frames are missing");
            }
            // The first time is not counted: its memory is new.
            times.remove(0);
            times.sort();
            let median: Duration = times[times.len() / 2];
            print!("  {kind} {:7.1} ms", 1e3 * median.as_secs_f64());
        }
        println!();
    }
    Ok(())
}
