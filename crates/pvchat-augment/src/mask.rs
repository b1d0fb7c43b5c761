//! Masks of one frame: 255 on the person, 0 elsewhere; and the little morphology they need.
//!
//! Implemented here because a general image processing library depends on a linear algebra library, and because 64 pixels need
//! only a few passes over bytes.

use image::GrayImage;

/// Mask value of the person.
pub(crate) const PERSON: u8 = 255;

/// Closes gaps of up to two pixels (3x3 closing).
pub(crate) fn close(mask: &GrayImage) -> GrayImage {
    let grown = neighbourhood(mask, [-1, 1], u8::max);
    neighbourhood(&grown, [-1, 1], u8::min)
}

/// Removes what is thinner than two pixels (2x2 opening).
pub(crate) fn open(mask: &GrayImage) -> GrayImage {
    let shrunk = neighbourhood(mask, [0, 1], u8::min);
    // The element turned by 180 degrees, so that the mask stays where it is.
    neighbourhood(&shrunk, [-1, 0], u8::max)
}

/// The least or greatest value of every pixel and those at the offsets, across and down, as far as they are within the mask.
fn neighbourhood(mask: &GrayImage, offsets: [isize; 2], fold: impl Fn(u8, u8) -> u8 + Copy) -> GrayImage {
    let width = (mask.width() as usize).max(1);
    let mut across = mask.clone();
    for (to, from) in across.chunks_exact_mut(width).zip(mask.chunks_exact(width)) {
        for offset in offsets {
            fold_shifted(to, from, offset, fold);
        }
    }
    let mut result = across.clone();
    for offset in offsets {
        fold_shifted(&mut result, &across, offset * width as isize, fold);
    }
    result
}

/// Folds into every place of `to` what `from` has `offset` places further on, where there is something.
fn fold_shifted(to: &mut [u8], from: &[u8], offset: isize, fold: impl Fn(u8, u8) -> u8) {
    let distance = offset.unsigned_abs().min(to.len());
    let (to, from) = if offset < 0 { (&mut to[distance..], from) } else { (to, &from[distance..]) };
    for (to, from) in to.iter_mut().zip(from) {
        *to = fold(*to, *from);
    }
}

/// Keeps the patch (of pixels that touch at sides or corners) that is largest when area counts less the further its
/// centre is from the middle column.
pub(crate) fn keep_central_patch(mask: &mut GrayImage) {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let mut seen = vec![false; width * height];
    let mut best: (f32, Vec<usize>) = (0.0, Vec::new());
    for start in 0..seen.len() {
        if seen[start] || mask.as_raw()[start] == 0 {
            continue;
        }
        seen[start] = true;
        let mut patch = vec![start];
        let mut next = 0;
        while let Some(&place) = patch.get(next) {
            next += 1;
            let (x, y) = (place % width, place / width);
            for y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let near = y * width + x;
                    if !seen[near] && mask.as_raw()[near] != 0 {
                        seen[near] = true;
                        patch.push(near);
                    }
                }
            }
        }
        let area = patch.len() as f32;
        let centre = patch.iter().map(|place| (place % width) as f32 + 0.5).sum::<f32>() / area;
        let off_centre = (centre - width as f32 / 2.0) / (width as f32 / 4.0);
        let weight = area * (-off_centre * off_centre).exp();
        if weight > best.0 {
            best = (weight, patch);
        }
    }
    mask.fill(0);
    for place in best.1 {
        mask[((place % width) as u32, (place / width) as u32)].0[0] = PERSON;
    }
}

/// Makes everything that the mask encloses part of it.
pub(crate) fn fill_holes(mask: &mut GrayImage) {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let edge = (0..width * height).filter(|place| {
        let (x, y) = (place % width, place / width);
        x == 0 || y == 0 || x + 1 == width || y + 1 == height
    });
    let mut outside = vec![false; width * height];
    let mut open: Vec<usize> = edge.filter(|&place| mask.as_raw()[place] == 0).collect();
    for &place in &open {
        outside[place] = true;
    }
    while let Some(place) = open.pop() {
        let x = place % width;
        let sides = [
            (x > 0).then(|| place - 1),
            (x + 1 < width).then_some(place + 1),
            place.checked_sub(width),
            Some(place + width).filter(|&below| below < outside.len()),
        ];
        for near in sides.into_iter().flatten() {
            if !outside[near] && mask.as_raw()[near] == 0 {
                outside[near] = true;
                open.push(near);
            }
        }
    }
    for (pixel, outside) in mask.iter_mut().zip(outside) {
        *pixel = if outside { 0 } else { PERSON };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Luma;

    /// A mask from rows of `#` and `.`.
    fn mask(rows: &[&str]) -> GrayImage {
        GrayImage::from_fn(rows[0].len() as u32, rows.len() as u32, |column, row| {
            Luma([if rows[row as usize].as_bytes()[column as usize] == b'#' { PERSON } else { 0 }])
        })
    }

    #[test]
    fn closing_fills_gaps_and_opening_drops_lines_without_moving_the_rest() {
        let gap = mask(&["........", "........", "..##.#..", "..##.#..", "........", "........"]);
        assert_eq!(close(&gap), mask(&["........", "........", "..####..", "..####..", "........", "........"]));
        let line = mask(&["##......", "##.####.", "......#.", "...####.", "........"]);
        assert_eq!(open(&line), mask(&["##......", "##......", "........", "........", "........"]));
    }

    #[test]
    fn the_central_patch_wins_over_a_larger_one_at_the_side() {
        let mut patches = mask(&["###.......", "###..##...", "###...#...", "###....#.."]);
        keep_central_patch(&mut patches);
        assert_eq!(patches, mask(&["..........", ".....##...", "......#...", ".......#.."]));
        let mut empty = GrayImage::new(3, 2);
        keep_central_patch(&mut empty);
        assert_eq!(empty, GrayImage::new(3, 2));
    }

    #[test]
    fn enclosed_places_are_filled_and_bays_are_not() {
        let mut ring = mask(&["......", ".####.", ".#..#.", ".####.", "##..##"]);
        fill_holes(&mut ring);
        assert_eq!(ring, mask(&["......", ".####.", ".####.", ".####.", "##..##"]));
        for (width, height) in [(1, 1), (1, 5), (4, 1)] {
            let mut full = GrayImage::from_pixel(width, height, Luma([PERSON]));
            fill_holes(&mut full);
            assert!(full.iter().all(|&pixel| pixel == PERSON));
        }
    }
}
