"""What the code of each public file of an image model does, by the id of its layout."""

from wild import tables
from wild.networks import Recipe

_EXAMPLES = Recipe("fc1 relu", "fc21", "fc22", "fc3 relu fc4")
_EXAMPLES_Y = Recipe("+y fc1 relu", "fc21", "fc22", "+y fc3 relu fc4", n_classes=10)
_COURSE = Recipe(
    "y:encoder.label_embedding,relu +y encoder.fc_hidden relu",
    "encoder.fc_mu",
    "encoder.fc_logvar",
    "y:decoder.label_embedding,relu +y decoder.fc_hidden relu decoder.fc_out",
    n_classes=10,
)
_BOTTLENECK = Recipe(
    "encoder_conv.0/s2p1 relu@encoder_conv.1 encoder_conv.2 encoder_conv.3/s2p1 relu@encoder_conv.4"
    " encoder_conv.5 encoder_conv.6/s2p0 relu@encoder_conv.7 flatten@encoder_dense.0"
    " encoder_dense.1 relu@encoder_dense.2",
    "bottleneck1",
    "bottleneck2",
    "decoder_dense.0 relu@decoder_dense.1 decoder_dense.2 relu@decoder_dense.3 to:32x3x3"
    " decoder_conv.0^s2p0 decoder_conv.1 relu@decoder_conv.2 decoder_conv.3^s2p1o1 decoder_conv.4"
    " relu@decoder_conv.5 decoder_conv.6^s2p1o1",
    meaning="logsigma",
    loss="mse",
)

RECIPES = {
    **dict.fromkeys((0, 15, 100, 105, 129), _COURSE),
    **dict.fromkeys((2, 3, 41, 72, 87, 116, 134, 135), _EXAMPLES_Y),
    4: Recipe("fc1 relu fc1a relu", "fc21", "fc22", "fc3 relu fc3a relu fc4"),
    5: Recipe(
        "encoder.conv_pool.0 leaky pool3 encoder.hidden leaky",
        "encoder.mu",
        "encoder.sigma",
        "decoder.layers.0 leaky decoder.layers.2",
        meaning="logsigma",
    ),
    6: Recipe(
        "encoder.fc1 tanh drop",
        "encoder.fc2_mean",
        "encoder.fc2_logvar",
        "decoder.fc1 tanh drop decoder.fc2",
    ),
    11: Recipe(
        "encoder.0/s2p1 relu encoder.2/s2p1 relu encoder.5 relu",
        "fc_mu",
        "fc_logvar",
        "decoder.0 relu decoder.2 relu to:32x7x7 decoder.5^s2p1o1 relu decoder.7^s2p1o1",
        output="tanh",
        pixels="signed",
        loss="mse",
    ),
    **dict.fromkeys((13, 28, 71), _EXAMPLES),
    142: Recipe("fc1 relu", "fc21", "fc22", "fc3 relu fc4", loss="mse"),
    19: Recipe(
        "encoder.0/s2p1 encoder.1 relu encoder.3/s2p1 encoder.4 relu encoder.6/s2p1 encoder.7 relu",
        "fc_mu",
        "fc_logvar",
        "fc_decode relu to:128x4x4 decoder.0^s2p1 decoder.1 relu decoder.3^s2p1 decoder.4 relu"
        " decoder.6^s2p1",
        shape=(3, 32, 32),
        output="tanh",
        pixels="signed",
        loss="mse",
        n_images=2000,
    ),
    20: Recipe(
        "encoder.0/s1p2 res:encoder.1 pool2 res:encoder.3 pool2 res:encoder.5 avg",
        "fc_mu",
        "fc_logs2",
        "decoder.0 to:64x1x1 decoder.2^s1 up:7 res:decoder.4 up:14 res:decoder.6 up:28"
        " res:decoder.8 decoder.9^s1p1",
        output="linear",
        loss="mse",
        n_images=1500,
    ),
    29: Recipe(
        "e:label_emb +y fc1 relu",
        "fc_mu",
        "fc_logvar",
        "e:label_emb +y fc3 relu fc4",
        n_classes=10,
    ),
    31: Recipe(
        "enc_1/s2p1 relu enc_2/s2p1 relu enc_3/s2p1 relu enc_4/s2p1 relu avg fc_1 relu",
        "fc_mu",
        "fc_logvar",
        "fc_2 to:64x1x1 dec_1^s1p0 leaky dec_2^s2p1 leaky dec_3^s2p1 leaky dec_4^s2p1",
        shape=(1, 32, 32),
    ),
    33: Recipe(  # trained so hard on the KL that q is the prior
        "encoder.0 leaky2 encoder.2 leaky2",
        "mean_layer",
        "logvar_layer",
        "decoder.0 leaky2 decoder.2",
        output="logits",
        beta=50.0,
    ),
    38: Recipe("encoder.1 relu", "mu", "logvar", "+y decoder.0 relu decoder.2", n_classes=10),
    67: _BOTTLENECK,
    70: _BOTTLENECK,
    74: Recipe(
        "enc1/s2p1 relu enc2/s2p1 relu enc3/s2p1 relu enc4/s2p0 relu avg fc1",
        "fc_mu",
        "fc_log_var",
        "fc2 to:64x1x1 dec1^s1p0 relu dec2^s2p1 relu dec3^s2p1 relu dec4^s2p1",
        shape=(1, 32, 32),
    ),
    84: Recipe(
        "encoder.conv_0/s2p1 relu encoder.conv_1/s2p1 relu encoder.conv_2/s2p1 relu",
        "encoder.fc",
        "",
        "decoder.fc relu to:16x4x4 decoder.conv_0^s2p1 relu decoder.conv_1^s2p1o1 relu"
        " decoder.conv_2^s2p1o1",
        fused="chunked",
        n_images=2500,
    ),
    89: Recipe(
        "img_2hid relu",
        "hiddenToMean",
        "hiddenToStandardDeviation",
        "z_2hid relu hid_2img",
        meaning="sigma",
        beta=2.0,
    ),
    91: Recipe(
        "+y dense_16.dense_16 relu",
        "dense_17.dense_17",
        "dense_18.dense_18",
        "+y dense_19.dense_19 relu dense_20.dense_20",
        n_classes=10,
    ),
    99: Recipe(
        "encoder.dense_1 relu",
        "encoder.z_mean",
        "encoder.z_log_var",
        "decoder.dense_2 relu decoder.dense_3",
    ),
    154: Recipe(
        "encoder.dense_30 relu",
        "encoder.z_mean_7",
        "encoder.z_log_var_7",
        "decoder.dense_31 relu decoder.dense_32",
    ),
    180: Recipe(
        "dense_1.dense_1 relu",
        "dense_2.dense_2",
        "dense_3.dense_3",
        "dense_4.dense_4 relu dense_5.dense_5",
    ),
    120: Recipe("fc1 relu", "fc2_mu", "fc2_logvar", "fc3 relu fc4", pixels="signed"),
    121: Recipe(
        "encoder.0/s2p1 relu encoder.2/s2p1 relu encoder.4/s2p1 relu",
        "fc_mu",
        "fc_logvar",
        "fc_decode to:128x4x4 decoder.0^s2p1o1 relu decoder.2^s2p1o1 relu decoder.4^s2p1o1",
        shape=(3, 32, 32),
    ),
    126: Recipe("encoder.0 relu", "fc_mu", "fc_logvar", "decoder.0 relu decoder.2", loss="mse"),
    138: Recipe(
        "encoder.fc1 relu",
        "encoder.fc_mu",
        "encoder.fc_logvar",
        "decoder.fc1 relu decoder.fc_out",
    ),
    141: Recipe(
        "+y encoder.fc1.0 encoder.fc1.1 relu drop encoder.fc1.4 relu",
        "encoder.fc21",
        "encoder.fc22",
        "+y decoder.fc3.0 relu decoder.fc3.2",
        n_classes=10,
    ),
    145: Recipe(
        "encoder.conv1/s1p1 relu encoder.conv2/s2p1 relu encoder.conv3/s2p1 relu"
        " encoder.conv4/s2p1 relu",
        "encoder.fc_mu_4",
        "encoder.fc_logvar_4",
        "decoder.fc4 relu to:64x1x1 decoder.conv4^s2p1o1 relu decoder.conv3^s2p1o1 relu"
        " decoder.conv2^s2p1o1 relu decoder.conv1^s1p1",
        shape=(1, 8, 8),
        dataset="digits",
        loss="mse",
        unused=(
            *("encoder.fc_mu_2", "encoder.fc_logvar_2", "encoder.fc_mu_3", "encoder.fc_logvar_3"),
            *("decoder.fc3", "decoder.fc2"),
        ),
    ),
    147: Recipe(
        "encode.disc.0.0/s2 encode.disc.0.1 leaky2 encode.disc.1.0/s2 encode.disc.1.1 leaky2"
        " encode.disc.2.0/s2",
        "flatten",
        "",
        "to:32x1x1 decode.gen.0.0^s2 decode.gen.0.1 relu decode.gen.1.0^s1 decode.gen.1.1 relu"
        " decode.gen.2.0^s2 decode.gen.2.1 relu decode.gen.3.0^s2",
        fused="chunked",
        meaning="logsigma",
        n_images=2500,
    ),
    150: Recipe(
        "encoder.conv.0/s2p1 relu encoder.conv.2/s2p1 relu encoder.conv.4/s2p1 relu"
        " encoder.conv.6/s2p1 relu encoder.conv.8/s2p1 relu",
        "encoder.fc_mu",
        "encoder.fc_logvar",
        "decoder.fc to:96x4x4 decoder.deconv.0^s2p1 relu decoder.deconv.2^s2p1 relu"
        " decoder.deconv.4^s2p1 relu decoder.deconv.6^s2p1 relu decoder.deconv.8^s2p1",
        shape=(3, 128, 128),
        loss="mse",
    ),
    177: Recipe(
        "inf.0 relu inf.2 relu",
        "inf_mean.0 sigmoid",
        "inf_std.0 softplus",
        "gen.0 relu gen.2 relu gen_mean.0",
        meaning="sigma",
        unused=("gen_std.0",),
    ),
    **tables.RECIPES,
}
