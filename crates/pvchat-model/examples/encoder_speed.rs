use burn::prelude::*;
use pvchat_model::vision::miniature::*;
use std::time::Instant;
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let d = Device::flex().autodiff();
    let mut s = pvchat_data::random::SeededStream::new(1);
    let enc = MiniatureEncoderConfig::default().init(&mut s, &d);
    let n: usize = std::env::args().nth(1).map(|x| x.parse().unwrap()).unwrap_or(16);
    let threads: usize = std::env::args().nth(2).map(|x| x.parse().unwrap()).unwrap_or(1);
    let go = |enc: MiniatureEncoder| {
        let x = Tensor::<5>::ones([n, 3, 8, 64, 64], &Device::flex()) * 0.3;
        for it in 0..4 {
            let t = Instant::now();
            let f = enc.features(x.clone());
            let l = f.readouts.square().mean() + f.tokens.mean();
            let t1 = t.elapsed();
            let g = l.backward();
            let _gp = burn::optim::GradientsParams::from_grads(g, &enc);
            println!("{it} forward {t1:?} total {:?}", t.elapsed());
        }
    };
    if threads == 1 { go(enc) } else {
        std::thread::scope(|sc| { for _ in 0..threads { let e = enc.clone().fork(&d); let go=&go; sc.spawn(move || { let _p = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build(); go(e) }); } });
    }
}
