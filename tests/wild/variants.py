"""Layouts that no list has, as plausible as theirs: what the readers were not made for."""

from wild.networks import Recipe
from wild.notation import Variants, add, mlp, stack

VARIANTS: Variants = {}

add(
    VARIANTS,
    "gelu-log-std",
    mlp("enc1 784 512,enc2 512 256,mean 256 8,log_std 256 8,dec1 8 256,dec2 256 512,out 512 784"),
    Recipe("enc1 gelu enc2 gelu", "mean", "log_std", "dec1 gelu dec2 gelu out", meaning="logsigma"),
)
add(
    VARIANTS,
    "softplus-sigma",
    mlp("net.fc 784 300,to_mu 300 2,to_sigma 300 2,back 2 300,pixels 300 784"),
    Recipe("net.fc tanh", "to_mu", "to_sigma softplus", "back tanh pixels", meaning="sigma"),
)
add(
    VARIANTS,
    "signed-conv-fused",
    stack(
        "c4 down.0 1 16,c4 down.2 16 32,c4 down.4 32 64,l to_latent 1024 32,"
        "l from_latent 16 1024,t4 up.0 64 32,t4 up.2 32 16,t4 up.4 16 1"
    ),
    Recipe(
        "down.0/s2p1 leaky2 down.2/s2p1 leaky2 down.4/s2p1 leaky2",
        "to_latent",
        "",
        "from_latent to:64x4x4 up.0^s2p1 leaky2 up.2^s2p1 leaky2 up.4^s2p1",
        fused="chunked",
        shape=(1, 32, 32),
        output="tanh",
        pixels="signed",
        loss="mse",
    ),
)
add(
    VARIANTS,
    "pool-upsample",
    stack(
        "c3 conv1 1 16,c3 conv2 16 32,l fc_mean 1568 10,l fc_logvar 1568 10,l expand 10 1568,"
        "c3 conv3 32 16,c3 conv4 16 1"
    ),
    Recipe(
        "conv1/s1p1 relu pool2 conv2/s1p1 relu pool2",
        "fc_mean",
        "fc_logvar",
        "expand relu to:32x7x7 up2 conv3/s1p1 relu up2 conv4/s1p1",
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "batchnorm-5x5",
    stack(
        "c5 encoder.0 1 16,bn encoder.1 16,c5 encoder.3 16 32,bn encoder.4 32,l mu 1568 12,"
        "l logvar 1568 12,l decoder_fc 12 1568,t5 decoder.0 32 16,bn decoder.1 16,t5 decoder.3 16 1"
    ),
    Recipe(
        "encoder.0/s2p2 encoder.1 silu encoder.3/s2p2 encoder.4 silu",
        "mu",
        "logvar",
        "decoder_fc to:32x7x7 decoder.0^s2p2o1 decoder.1 silu decoder.3^s2p2o1",
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "group-norm",
    stack(
        "c3 enc.0 1 16,norm enc.1 16,c3 enc.3 16 32,norm enc.4 32,l head_mu 1568 6,"
        "l head_lv 1568 6,l dec_in 6 1568,t4 dec.0 32 16,norm dec.1 16,t4 dec.3 16 1"
    ),
    Recipe(
        "enc.0/s2p1 enc.1/g8 silu enc.3/s2p1 enc.4/g8 silu",
        "head_mu",
        "head_lv",
        "dec_in to:32x7x7 dec.0^s2p1 dec.1/g8 silu dec.3^s2p1",
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "interleaved",
    mlp("encoder.0 784 256,encoder.2 256 20,decoder.0 10 256,decoder.2 256 784"),
    Recipe(
        "encoder.0 relu encoder.2", "flatten", "", "decoder.0 relu decoder.2", fused="interleaved"
    ),
)
add(
    VARIANTS,
    "layer-norm",
    stack(
        "l enc.lin1 784 256,norm enc.ln1 256,l enc.lin2 256 128,norm enc.ln2 128,l mu 128 16,"
        "l logvar 128 16,l dec.lin1 16 128,norm dec.ln1 128,l dec.lin2 128 256,norm dec.ln2 256,"
        "l dec.out 256 784"
    ),
    Recipe(
        "enc.lin1 enc.ln1 gelu enc.lin2 enc.ln2 gelu",
        "mu",
        "logvar",
        "dec.lin1 dec.ln1 gelu dec.lin2 dec.ln2 gelu dec.out",
        dataset="fashion-mnist",
    ),
)
add(
    VARIANTS,
    "no-bias-colour",
    stack(
        "c4 features.0/ 3 16,bn features.1 16,c4 features.3/ 16 32,bn features.4 32,"
        "c4 features.6/ 32 64,bn features.7 64,l mu 1024 24,l logvar 1024 24,l project 24 1024,"
        "t4 generate.0/ 64 32,bn generate.1 32,t4 generate.3/ 32 16,bn generate.4 16,"
        "t4 generate.6 16 3"
    ),
    Recipe(
        "features.0/s2p1 features.1 leaky2 features.3/s2p1 features.4 leaky2"
        " features.6/s2p1 features.7 leaky2",
        "mu",
        "logvar",
        "project to:64x4x4 generate.0^s2p1 generate.1 relu generate.3^s2p1 generate.4 relu"
        " generate.6^s2p1",
        shape=(3, 32, 32),
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "embedding-conditional",
    mlp("embed/ 16 10,enc 800 256,mu 256 5,lv 256 5,dec 21 256,out 256 784"),
    Recipe("e:embed +y enc relu", "mu", "lv", "e:embed +y dec relu out", n_classes=10),
)
add(
    VARIANTS,
    "label-after-convs",
    stack(
        "c3 conv.0 1 16,c3 conv.2 16 32,l hidden 1578 128,l fc_mu 128 8,l fc_var 128 8,"
        "l decoder_input 18 1568,t3 deconv.0 32 16,t3 deconv.2 16 1"
    ),
    Recipe(
        "conv.0/s2p1 relu conv.2/s2p1 relu flatten +y hidden relu",
        "fc_mu",
        "fc_var",
        "+y decoder_input relu to:32x7x7 deconv.0^s2p1o1 relu deconv.2^s2p1o1",
        n_classes=10,
    ),
)
add(
    VARIANTS,
    "label-planes",
    stack(
        "c4 encoder.0 11 16,c4 encoder.2 16 32,l fc_mu 1568 8,l fc_logvar 1568 8,"
        "l decoder_fc 18 1568,t4 decoder.0 32 16,t4 decoder.2 16 1"
    ),
    Recipe(
        "+planes encoder.0/s2p1 relu encoder.2/s2p1 relu",
        "fc_mu",
        "fc_logvar",
        "+y decoder_fc relu to:32x7x7 decoder.0^s2p1 relu decoder.2^s2p1",
        n_classes=10,
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "label-first",
    mlp("fc1 794 400,fc2 400 200,fc_mu 200 10,fc_logvar 200 10,fc3 20 200,fc4 200 400,fc5 400 784"),
    Recipe("y+ fc1 relu fc2 relu", "fc_mu", "fc_logvar", "y+ fc3 relu fc4 relu fc5", n_classes=10),
)
add(
    VARIANTS,
    "decoder-first",
    mlp(
        "decoder.0 12 256,decoder.2 256 512,decoder.4 512 784,logvar 256 12,mu 256 12,"
        "encoder.0 784 512,encoder.2 512 256"
    ),
    Recipe(
        "encoder.0 relu encoder.2 relu", "mu", "logvar", "decoder.0 relu decoder.2 relu decoder.4"
    ),
)
add(
    VARIANTS,
    "mean-std-in",
    mlp("fc1 784 400,fc21 400 16,fc22 400 16,fc3 16 400,fc4 400 784"),
    Recipe("fc1 relu", "fc21", "fc22", "fc3 relu fc4", pixels=(0.1307, 0.3081)),
)
add(
    VARIANTS,
    "mean-std-linear",
    mlp("encoder.0 784 400,fc_mu 400 16,fc_var 400 16,decoder.0 16 400,decoder.2 400 784"),
    Recipe(
        "encoder.0 relu",
        "fc_mu",
        "fc_var",
        "decoder.0 relu decoder.2",
        pixels=(0.1307, 0.3081),
        output="linear",
        loss="mse",
        gain=0.5,
    ),
)
add(
    VARIANTS,
    "one-dimension",
    mlp("e1 784 128,m 128 1,s 128 1,d1 1 128,d2 128 784"),
    Recipe("e1 relu", "m", "s", "d1 relu d2"),
)
add(
    VARIANTS,
    "colour-64",
    stack(
        "c4 enc.0 3 8,c4 enc.2 8 16,c4 enc.4 16 32,c4 enc.6 32 64,l fc_mu 1024 128,"
        "l fc_logvar 1024 128,l fc_dec 128 1024,t4 dec.0 64 32,t4 dec.2 32 16,t4 dec.4 16 8,"
        "t4 dec.6 8 3"
    ),
    Recipe(
        "enc.0/s2p1 relu enc.2/s2p1 relu enc.4/s2p1 relu enc.6/s2p1 relu",
        "fc_mu",
        "fc_logvar",
        "fc_dec relu to:64x4x4 dec.0^s2p1 relu dec.2^s2p1 relu dec.4^s2p1 relu dec.6^s2p1",
        shape=(3, 64, 64),
        dataset="fashion-mnist",
    ),
)
add(
    VARIANTS,
    "two-layer-heads",
    mlp(
        "trunk.0 784 256,mu_net.0 256 64,mu_net.2 64 4,var_net.0 256 64,var_net.2 64 4,"
        "gen.0 4 64,gen.2 64 256,gen.4 256 784"
    ),
    Recipe(
        "trunk.0 relu",
        "mu_net.0 relu mu_net.2",
        "var_net.0 relu var_net.2",
        "gen.0 relu gen.2 relu gen.4",
    ),
)
add(
    VARIANTS,
    "logits-1x1",
    stack(
        "c4 q.conv1 1 16,c4 q.conv2 16 32,l q.mean 1568 8,l q.logvar 1568 8,l p.fc 8 1568,"
        "t4 p.up1 32 16,t4 p.up2 16 16,c1 p.last 16 1"
    ),
    Recipe(
        "q.conv1/s2p1 elu q.conv2/s2p1 elu",
        "q.mean",
        "q.logvar",
        "p.fc elu to:32x7x7 p.up1^s2p1 elu p.up2^s2p1 elu p.last/s1",
        output="logits",
        n_images=3000,
    ),
)
add(
    VARIANTS,
    "signed-tanh-mlp",
    mlp("encode.0 784 256,mean 256 16,log_variance 256 16,decode.0 16 256,decode.2 256 784"),
    Recipe(
        "encode.0 leaky",
        "mean",
        "log_variance",
        "decode.0 leaky decode.2",
        output="tanh",
        pixels="signed",
        loss="mse",
    ),
)
add(
    VARIANTS,
    "conv-heads",
    stack(
        "c4 e1 1 16,c4 e2 16 32,c4 e3 32 64,c4 conv_mu 64 20,c4 conv_logvar 64 20,t4 d0 20 64,"
        "t4 d1 64 32,t4 d2 32 16,t4 d3 16 1"
    ),
    Recipe(
        "e1/s2p1 relu e2/s2p1 relu e3/s2p1 relu",
        "conv_mu/s1",
        "conv_logvar/s1",
        "to:20x1x1 d0^s1 relu d1^s2p1 relu d2^s2p1 relu d3^s2p1",
        shape=(1, 32, 32),
    ),
)
add(
    VARIANTS,
    "average-pool",
    stack("c5 c1 1 8,c5 c2 8 16,l fc 784 100,l mu 100 5,l sigma 100 5,l z2h 5 100,l h2x 100 784"),
    Recipe(
        "c1/s1p2 relu mean2 c2/s1p2 relu mean2 fc relu",
        "mu",
        "sigma",
        "z2h relu h2x",
        meaning="logsigma",
    ),
)
add(
    VARIANTS,
    "softplus-variance",
    mlp("hidden 784 400,z_mean 400 10,z_var 400 10,hidden_dec 10 400,x_mean 400 784"),
    Recipe(
        "hidden softplus",
        "z_mean",
        "z_var softplus",
        "hidden_dec softplus x_mean",
        meaning="variance",
    ),
)
add(
    VARIANTS,
    "softplus-hidden",
    mlp("h1 784 500,h2 500 500,q_mu 500 20,q_logvar 500 20,g1 20 500,g2 500 500,g3 500 784"),
    Recipe(
        "h1 softplus h2 softplus",
        "q_mu",
        "q_logvar",
        "g1 softplus g2 softplus g3",
    ),
)
