//! The eight places: wall or sky, floor and furniture, drawn once per clip on the whole world.

use pvchat_data::random::SeededStream;

use super::canvas::{Colour, Pen};
use super::clip::{Place, WORLD_WIDTH};

const LEFT: f32 = -4.0;
const RIGHT: f32 = WORLD_WIDTH + 4.0;
const TOP: f32 = -6.0;
const BOTTOM: f32 = 76.0;

/// Draws the place; the pen works in units of the world.
pub(super) fn draw(pen: &mut Pen<'_>, place: Place, ground: f32, stream: &mut SeededStream) {
    let mut set = Set { pen, ground, stream };
    match place {
        Place::Kitchen => set.kitchen(),
        Place::Park => set.park(),
        Place::Office => set.office(),
        Place::Beach => set.beach(),
        Place::Bedroom => set.bedroom(),
        Place::Hospital => set.hospital(),
        Place::Street => set.street(),
        Place::Classroom => set.classroom(),
    }
}

struct Set<'a, 'canvas> {
    pen: &'a mut Pen<'canvas>,
    ground: f32,
    stream: &'a mut SeededStream,
}

impl Set<'_, '_> {
    /// A colour moved by up to 14 in every channel, so that no place is known by one exact colour.
    fn jitter(&mut self, red: u8, green: u8, blue: u8) -> Colour {
        let mut channel = |value: u8| (i32::from(value) + self.stream.range(-14, 15)).clamp(0, 255) as u8;
        Colour(channel(red), channel(green), channel(blue))
    }

    fn halves(&mut self, above: Colour, below: Colour) {
        self.pen.rect(LEFT, TOP, RIGHT, self.ground).fill(above);
        self.pen.rect(LEFT, self.ground, RIGHT, BOTTOM).fill(below);
    }

    fn skirting(&mut self, colour: Colour) {
        self.pen.rect(LEFT, self.ground - 1.2, RIGHT, self.ground).fill(colour);
    }

    fn kitchen(&mut self) {
        let (wall, floor) = (self.jitter(245, 224, 178), self.jitter(198, 146, 100));
        self.halves(wall, floor);
        let mut x = self.stream.range(-3.0, 3.0);
        while x < RIGHT {
            self.pen.rect(x, TOP, x + 0.5, self.ground);
            x += 6.5;
        }
        let mut y = TOP + 1.0;
        while y < self.ground {
            self.pen.rect(LEFT, y, RIGHT, y + 0.5);
            y += 6.5;
        }
        self.pen.fill(wall.times(0.88));
        let fridge = self.jitter(236, 240, 242);
        let (x, ground) = (self.stream.range(7.0, 15.0), self.ground);
        self.pen.rect(x, ground - 36.0, x + 15.0, ground + 2.0).fill(fridge);
        self.pen.rect(x, ground - 22.0, x + 15.0, ground - 21.2).rect(x + 12.4, ground - 32.0, x + 13.4, ground - 25.0);
        self.pen.rect(x + 12.4, ground - 18.0, x + 13.4, ground - 8.0).fill(fridge.times(0.66));
        let wood = self.jitter(134, 84, 56);
        let x = self.stream.range(55.0, 64.0);
        self.pen.rect(x, ground - 14.0, RIGHT, ground + 2.5).fill(wood);
        self.pen.rect(x - 1.0, ground - 16.0, RIGHT, ground - 13.4).fill(wood.times(0.6));
        self.pen.rect(x + 10.0, ground - 13.0, x + 10.6, ground + 2.0).fill(wood.times(0.7));
        let pot = self.stream.range(x + 4.0, x + 12.0);
        self.pen.rect(pot, ground - 21.0, pot + 8.0, ground - 16.0).rect(pot - 1.6, ground - 20.0, pot + 9.6, ground - 19.0);
        self.pen.dome(pot + 4.0, ground - 21.0, 4.0, 1.6).fill(Colour(52, 52, 58));
    }

    fn park(&mut self) {
        let (sky, grass) = (self.jitter(150, 206, 250), self.jitter(98, 196, 88));
        self.halves(sky, grass);
        let (x, y) = (self.stream.range(12.0, 70.0), self.stream.range(5.0, 13.0));
        self.pen
            .ellipse(x, y, 6.0, 2.6)
            .ellipse(x + 5.0, y - 1.4, 5.0, 3.0)
            .ellipse(x + 10.0, y, 5.5, 2.4)
            .fill(Colour(250, 250, 252));
        let ground = self.ground;
        for base in [14.0, 34.0, 68.0] {
            let x = base + self.stream.range(-5.0, 7.0);
            let height = self.stream.range(15.0, 21.0);
            let (trunk, leaf) = (self.jitter(112, 74, 42), self.jitter(40, 138, 52));
            self.pen.rect(x - 1.3, ground - height, x + 1.3, ground + 2.0).fill(trunk);
            self.pen.ellipse(x, ground - height, 7.0, 7.6).ellipse(x - 4.0, ground - height + 3.0, 5.0, 4.8);
            self.pen.ellipse(x + 4.0, ground - height + 3.0, 5.0, 4.8).fill(leaf);
        }
        for _ in 0..9 {
            let (x, y) = (self.stream.range(2.0, 86.0), self.stream.range(ground + 3.0, 68.0));
            self.pen.line((x, y), (x + 0.6, y - 1.5), 0.6).line((x + 1.3, y), (x + 1.5, y - 1.2), 0.6);
        }
        self.pen.fill(grass.times(0.78));
    }

    fn office(&mut self) {
        let (wall, floor) = (self.jitter(172, 184, 192), self.jitter(98, 100, 108));
        self.halves(wall, floor);
        self.skirting(wall.times(0.7));
        let ground = self.ground;
        let x = self.stream.range(16.0, 34.0);
        let glass = self.jitter(150, 214, 226);
        self.pen.rect(x - 1.0, 7.0, x + 17.0, 29.0).fill(Colour(70, 84, 98));
        self.pen.rect(x, 8.0, x + 7.5, 28.0).rect(x + 8.5, 8.0, x + 16.0, 28.0).fill(glass);
        let x = self.stream.range(56.0, 63.0);
        let wood = self.jitter(104, 66, 44);
        self.pen.rect(x, ground - 11.5, x + 26.0, ground - 9.3).rect(x + 1.0, ground - 10.0, x + 3.0, ground + 4.0);
        self.pen.rect(x + 23.0, ground - 10.0, x + 25.0, ground + 4.0).fill(wood);
        let screen = x + self.stream.range(3.0, 10.0);
        self.pen.rect(screen, ground - 23.0, screen + 13.0, ground - 13.6).rect(
            screen + 5.5,
            ground - 14.0,
            screen + 7.5,
            ground - 11.5,
        );
        self.pen.fill(Colour(26, 28, 34));
        self.pen.rect(screen + 0.9, ground - 22.0, screen + 12.1, ground - 14.6).fill(Colour(70, 160, 240));
        self.pen.rect(screen + 2.0, ground - 20.6, screen + 8.0, ground - 19.8).rect(
            screen + 2.0,
            ground - 18.6,
            screen + 10.0,
            ground - 17.8,
        );
        self.pen.fill(Colour(220, 240, 255));
    }

    fn beach(&mut self) {
        let (sky, sand) = (self.jitter(126, 210, 246), self.jitter(238, 218, 152));
        self.halves(sky, sand);
        let ground = self.ground;
        let sea = self.jitter(30, 112, 190);
        self.pen.rect(LEFT, ground - 14.0, RIGHT, ground - 0.5).fill(sea);
        self.pen
            .rect(LEFT, ground - 8.6, RIGHT, ground - 7.7)
            .rect(LEFT, ground - 1.4, RIGHT, ground + 0.3)
            .fill(Colour(240, 248, 252));
        let x = self.stream.range(16.0, 72.0);
        self.pen.ellipse(x, 9.0, 5.4, 5.4).fill(Colour(255, 226, 80));
        let x = if self.stream.chance(0.5) { self.stream.range(14.0, 24.0) } else { self.stream.range(64.0, 74.0) };
        let lean = self.stream.range(-2.0, 2.0);
        self.pen.line((x, ground - 19.0), (x + lean, ground + 6.0), 1.1).fill(Colour(110, 74, 50));
        self.pen.dome(x, ground - 17.0, 11.0, 8.0).fill(Colour(226, 70, 56));
        for side in [-1.0, 1.0] {
            self.pen.polygon(&[(x, ground - 25.0), (x + side * 2.6, ground - 17.0), (x + side * 7.0, ground - 17.0)]);
        }
        self.pen.fill(Colour(250, 244, 236));
    }

    fn bedroom(&mut self) {
        let (wall, floor) = (self.jitter(198, 168, 216), self.jitter(150, 98, 72));
        self.halves(wall, floor);
        self.skirting(wall.times(0.75));
        let ground = self.ground;
        let x = self.stream.range(9.0, 16.0);
        let (wood, blanket) = (self.jitter(122, 76, 50), self.jitter(238, 146, 168));
        self.pen.rect(x - 2.0, ground - 15.0, x, ground + 4.0).rect(x + 24.0, ground - 7.0, x + 26.0, ground + 4.0).fill(wood);
        self.pen.rect(x, ground - 5.5, x + 24.0, ground + 1.8).fill(blanket);
        self.pen.ellipse(x + 5.0, ground - 6.6, 4.6, 2.2).fill(Colour(250, 246, 244));
        let x = self.stream.range(66.0, 72.0);
        self.pen.rect(x - 0.6, ground - 20.0, x + 0.6, ground + 2.0).ellipse(x, ground + 2.0, 3.6, 1.2).fill(Colour(92, 72, 60));
        self.pen.polygon(&[
            (x - 2.8, ground - 28.0),
            (x + 2.8, ground - 28.0),
            (x + 5.0, ground - 19.5),
            (x - 5.0, ground - 19.5),
        ]);
        self.pen.fill(Colour(255, 226, 132));
        let x = self.stream.range(28.0, 58.0);
        let paint = self.jitter(240, 222, 150);
        self.pen.rect(x, 5.0, x + 13.0, 16.0).fill(wood);
        self.pen.rect(x + 1.2, 6.2, x + 11.8, 14.8).fill(paint);
        self.pen.polygon(&[(x + 2.0, 14.8), (x + 6.0, 9.0), (x + 10.0, 14.8)]).fill(Colour(110, 170, 120));
    }

    fn hospital(&mut self) {
        let (wall, floor) = (self.jitter(200, 234, 212), self.jitter(158, 196, 190));
        self.halves(wall, floor);
        let ground = self.ground;
        self.pen.rect(LEFT, ground - 17.0, RIGHT, ground - 15.4).fill(wall.times(0.84));
        let x = self.stream.range(18.0, 36.0);
        self.pen.rect(x - 6.5, 4.5, x + 6.5, 17.5).fill(Colour(252, 252, 252));
        self.pen.rect(x - 1.7, 6.0, x + 1.7, 16.0).rect(x - 5.0, 9.3, x + 5.0, 12.7).fill(Colour(214, 30, 40));
        let x = self.stream.range(52.0, 60.0);
        let steel = self.jitter(120, 140, 146);
        self.pen.rect(x, ground - 14.0, x + 1.4, ground + 4.0).rect(x + 26.0, ground - 10.0, x + 27.4, ground + 4.0);
        self.pen.rect(x, ground - 2.4, x + 27.0, ground - 0.8).fill(steel);
        self.pen.rect(x + 1.4, ground - 6.6, x + 26.0, ground - 2.2).fill(Colour(246, 248, 250));
        self.pen.ellipse(x + 22.0, ground - 7.4, 3.8, 1.9).fill(Colour(226, 238, 246));
        let x = self.stream.range(14.0, 19.0);
        self.pen.rect(x - 0.5, ground - 30.0, x + 0.5, ground + 3.0).rect(x - 0.5, ground - 30.0, x + 4.0, ground - 29.2);
        self.pen.rect(x - 3.0, ground + 2.4, x + 3.0, ground + 3.4).fill(steel.times(0.8));
        self.pen.rect(x + 2.0, ground - 28.6, x + 6.0, ground - 21.0).fill(Colour(150, 206, 240));
    }

    fn street(&mut self) {
        let (sky, pavement) = (self.jitter(146, 158, 182), self.jitter(152, 146, 148));
        self.halves(sky, pavement);
        let ground = self.ground;
        let mut x = self.stream.range(-4.0, 2.0);
        let mut brick = self.stream.chance(0.5);
        while x < RIGHT {
            let (width, height) = (self.stream.range(14.0, 19.0), self.stream.range(31.0, 47.0));
            let house = if brick { self.jitter(152, 88, 70) } else { self.jitter(92, 98, 112) };
            self.pen.rect(x, ground - height, x + width, ground).fill(house);
            self.pen.rect(x, ground - height, x + width, ground - height + 1.4).fill(house.times(0.7));
            for lit in [true, false] {
                let mut y = ground - height + 4.0;
                while y < ground - 6.0 {
                    for column in 0..3 {
                        let at = x + width * (0.12 + 0.29 * column as f32);
                        // Two of three windows are lit, in a pattern that the height decides.
                        if ((y * 3.0) as usize + column * 5).is_multiple_of(3) != lit {
                            self.pen.rect(at, y, at + 0.18 * width, y + 4.0);
                        }
                    }
                    y += 7.0;
                }
                self.pen.fill(if lit { Colour(250, 224, 130) } else { house.times(0.55) });
            }
            x += width + self.stream.range(0.0, 1.6);
            brick = !brick;
        }
        let road = self.jitter(58, 58, 64);
        self.pen.rect(LEFT, ground + 3.4, RIGHT, BOTTOM).fill(road);
        self.pen.rect(LEFT, ground + 2.6, RIGHT, ground + 3.8).fill(pavement.times(0.72));
        let mut x = self.stream.range(-6.0, 0.0);
        while x < RIGHT {
            self.pen.rect(x, ground + 9.5, x + 6.0, ground + 10.9);
            x += 11.0;
        }
        self.pen.fill(Colour(236, 234, 222));
    }

    fn classroom(&mut self) {
        let (wall, floor) = (self.jitter(228, 206, 156), self.jitter(166, 124, 84));
        self.halves(wall, floor);
        self.skirting(wall.times(0.72));
        let ground = self.ground;
        let x = self.stream.range(20.0, 32.0);
        let board = self.jitter(42, 98, 72);
        self.pen.rect(x - 1.4, 4.0, x + 33.4, 29.0).fill(Colour(122, 80, 48));
        self.pen.rect(x, 5.4, x + 32.0, 27.6).fill(board);
        for (number, y) in [9.0, 12.6, 16.2, 20.0].into_iter().enumerate() {
            let end: f32 = self.stream.range(10.0, 28.0);
            self.pen.line((x + 3.0, y), (x + end.max(8.0 + number as f32), y), 0.8);
        }
        self.pen.fill(Colour(226, 234, 226));
        for base in [10.0, 66.0] {
            let x = base + self.stream.range(-3.0, 4.0);
            let wood = self.jitter(138, 90, 54);
            self.pen.rect(x - 2.0, ground - 6.5, x + 14.0, ground - 4.3).rect(x - 0.5, ground - 5.0, x + 1.3, ground + 5.0);
            self.pen.rect(x + 10.7, ground - 5.0, x + 12.5, ground + 5.0).fill(wood);
        }
    }
}
