"""MinD-Vis' networks as plain functions of weights by its own names: slow, obvious, independent.

No module of the package is used. Structure is read off the names, sizes off the shapes; what shapes
cannot tell (attention heads) is an argument. `*_shapes` list what each network's state dict holds.
"""

import numpy as np
import torch
import torch.nn.functional as F

# -- what the state dicts hold ------------------------------------------------------------------


def pair(name, *shape, bias=True):
    """A weight and its bias, which has the first axis."""
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def norm(name, width):
    return pair(name, width)


def blocks_shapes(prefix, depth, width, hidden):
    shapes = {}
    for n in range(depth):
        at = f"{prefix}blocks.{n}."
        shapes |= norm(f"{at}norm1", width) | norm(f"{at}norm2", width)
        shapes |= pair(f"{at}attn.qkv", 3 * width, width) | pair(f"{at}attn.proj", width, width)
        shapes |= pair(f"{at}mlp.fc1", hidden, width) | pair(f"{at}mlp.fc2", width, hidden)
    return shapes


def encoder_shapes(patches, patch, width, depth, hidden):
    return (
        {"cls_token": (1, 1, width), "pos_embed": (1, patches + 1, width)}
        | pair("patch_embed.proj", width, 1, patch)
        | blocks_shapes("", depth, width, hidden)
        | norm("norm", width)
    )


def mae_shapes(patches, patch, width, depth, hidden, thin, thin_depth, thin_hidden):
    return (
        encoder_shapes(patches, patch, width, depth, hidden)
        | {"mask_token": (1, 1, thin), "decoder_pos_embed": (1, patches + 1, thin)}
        | pair("decoder_embed", thin, width)
        | blocks_shapes("decoder_", thin_depth, thin, thin_hidden)
        | norm("decoder_norm", thin)
        | pair("decoder_pred", patch, thin)
    )


def condition_shapes(tokens, width, context, mixed=77):
    return (
        pair("channel_mapper.0", tokens // 2, tokens, 1)
        | pair("channel_mapper.1", mixed, tokens // 2, 1)
        | pair("dim_mapper", context, width)
    )


def residual_shapes(at, before, after, embedding):
    shapes = norm(f"{at}in_layers.0", before) | pair(f"{at}in_layers.2", after, before, 3, 3)
    shapes |= pair(f"{at}emb_layers.1", after, embedding)
    shapes |= norm(f"{at}out_layers.0", after) | pair(f"{at}out_layers.3", after, after, 3, 3)
    return shapes | (pair(f"{at}skip_connection", after, before, 1, 1) if before != after else {})


def attention_shapes(at, width, context):
    shapes = norm(f"{at}norm", width)
    for end in ("proj_in", "proj_out"):
        shapes |= pair(f"{at}{end}", width, width, 1, 1)
    block = f"{at}transformer_blocks.0."
    for name, source in (("attn1", width), ("attn2", context)):
        shapes |= pair(f"{block}{name}.to_q", width, width, bias=False)
        shapes |= pair(f"{block}{name}.to_k", width, source, bias=False)
        shapes |= pair(f"{block}{name}.to_v", width, source, bias=False)
        shapes |= pair(f"{block}{name}.to_out.0", width, width)
    shapes |= pair(f"{block}ff.net.0.proj", 8 * width, width)
    shapes |= pair(f"{block}ff.net.2", width, 4 * width)
    for n in (1, 2, 3):
        shapes |= norm(f"{block}norm{n}", width)
    return shapes


def time_condition_shapes(time, embedding, context, mixed):
    if time is None:
        return {}
    if time == "pooled":
        return pair("time_embed_condtion", embedding, context)
    return (
        pair("time_embed_condtion.0", mixed // 2, mixed, 1)
        | pair("time_embed_condtion.1", 1, mixed // 2, 1)
        | pair("time_embed_condtion.2", embedding, context)
    )


def unet_shapes(base, mult, layers, attends, context, channels=3, time="tokens", mixed=77):
    """`attends`: whether each level does, finest first; `time`: "tokens", "pooled" or None."""
    embedding = 4 * base
    shapes = pair("time_embed.0", embedding, base) | pair("time_embed.2", embedding, embedding)
    shapes |= time_condition_shapes(time, embedding, context, mixed)
    shapes |= pair("input_blocks.0.0", base, channels, 3, 3)
    width, kept, n = base, [base], 1
    for level, factor in enumerate(mult):
        for _ in range(layers):
            shapes |= residual_shapes(f"input_blocks.{n}.0.", width, factor * base, embedding)
            width = factor * base
            if attends[level]:
                shapes |= attention_shapes(f"input_blocks.{n}.1.", width, context)
            kept.append(width)
            n += 1
        if level < len(mult) - 1:
            shapes |= pair(f"input_blocks.{n}.0.op", width, width, 3, 3)
            kept.append(width)
            n += 1
    shapes |= residual_shapes("middle_block.0.", width, width, embedding)
    shapes |= attention_shapes("middle_block.1.", width, context)
    shapes |= residual_shapes("middle_block.2.", width, width, embedding)
    n = 0
    for level, factor in reversed(list(enumerate(mult))):
        for layer in range(layers + 1):
            before = width + kept.pop()
            shapes |= residual_shapes(f"output_blocks.{n}.0.", before, factor * base, embedding)
            width = factor * base
            if attends[level]:
                shapes |= attention_shapes(f"output_blocks.{n}.1.", width, context)
            if level and layer == layers:
                place = 2 if attends[level] else 1
                shapes |= pair(f"output_blocks.{n}.{place}.conv", width, width, 3, 3)
            n += 1
    return shapes | norm("out.0", base) | pair("out.2", channels, base, 3, 3)


def picture_block_shapes(at, before, after):
    shapes = norm(f"{at}norm1", before) | pair(f"{at}conv1", after, before, 3, 3)
    shapes |= norm(f"{at}norm2", after) | pair(f"{at}conv2", after, after, 3, 3)
    return shapes | (pair(f"{at}nin_shortcut", after, before, 1, 1) if before != after else {})


def middle_shapes(at, width):
    shapes = picture_block_shapes(f"{at}block_1.", width, width)
    shapes |= picture_block_shapes(f"{at}block_2.", width, width) | norm(f"{at}attn_1.norm", width)
    for name in ("q", "k", "v", "proj_out"):
        shapes |= pair(f"{at}attn_1.{name}", width, width, 1, 1)
    return shapes


def vq_shapes(base, mult, layers, latent, codes):
    shapes = pair("encoder.conv_in", base, 3, 3, 3)
    width = base
    for level, factor in enumerate(mult):
        for layer in range(layers):
            at = f"encoder.down.{level}.block.{layer}."
            shapes |= picture_block_shapes(at, width, factor * base)
            width = factor * base
        if level < len(mult) - 1:
            shapes |= pair(f"encoder.down.{level}.downsample.conv", width, width, 3, 3)
    for side in ("encoder", "decoder"):
        shapes |= middle_shapes(f"{side}.mid.", width)
    shapes |= norm("encoder.norm_out", width) | pair("encoder.conv_out", latent, width, 3, 3)
    shapes |= pair("decoder.conv_in", width, latent, 3, 3)
    for level, factor in reversed(list(enumerate(mult))):
        for layer in range(layers + 1):
            at = f"decoder.up.{level}.block.{layer}."
            shapes |= picture_block_shapes(at, width, factor * base)
            width = factor * base
        if level:
            shapes |= pair(f"decoder.up.{level}.upsample.conv", width, width, 3, 3)
    shapes |= norm("decoder.norm_out", base) | pair("decoder.conv_out", 3, base, 3, 3)
    for end in ("quant_conv", "post_quant_conv"):
        shapes |= pair(end, latent, latent, 1, 1)
    return shapes | {"quantize.embedding.weight": (codes, latent)}


def random_weights(shapes, seed=0, amplitude=0.08):
    """Uniform weights, one added to the scales of norms; codes spread wider."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        values = (torch.rand(shape, generator=generator) * 2 - 1) * amplitude
        scale = len(shape) == 1 and name.endswith("weight")
        weights[name] = values * 10 if "quantize" in name else values + float(scale)
    return weights


# -- what they compute --------------------------------------------------------------------------


def linear(w, name, x):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def conv(w, name, x, **options):
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)


def layer_norm(w, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def group_norm(w, name, x, eps):
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attend(query, key, value, heads):
    """softmax(Q K' / sqrt(d)) V, head by head."""
    out = []
    for q, k, v in zip(*(x.chunk(heads, dim=-1) for x in (query, key, value)), strict=True):
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        out.append(scores.softmax(-1) @ v)
    return torch.cat(out, dim=-1)


def encode_brain(w, voxels, heads, pooled=False):
    """Responses (B, V) to tokens (B, L, D), without class token."""
    patch = w["patch_embed.proj.weight"].shape[2]
    embedded = F.conv1d(
        voxels[:, None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch
    )
    x = embedded.transpose(1, 2) + w["pos_embed"][:, 1:]
    x = transformer(w, "", x, heads)
    if pooled:
        x = x.mean(dim=1, keepdim=True)
    return layer_norm(w, "norm", x, 1e-5)


def transformer(w, prefix, x, heads):
    n = 0
    while f"{prefix}blocks.{n}.norm1.weight" in w:
        at = f"{prefix}blocks.{n}."
        q, k, v = linear(w, f"{at}attn.qkv", layer_norm(w, f"{at}norm1", x, 1e-5)).chunk(3, dim=-1)
        x = x + linear(w, f"{at}attn.proj", attend(q, k, v, heads))
        hidden = F.gelu(linear(w, f"{at}mlp.fc1", layer_norm(w, f"{at}norm2", x, 1e-5)))
        x = x + linear(w, f"{at}mlp.fc2", hidden)
        n += 1
    return x


def predict_patches(w, voxels, heads, thin_heads):
    """The masked autoencoder with nothing masked: (B, L, P)."""
    patch = w["patch_embed.proj.weight"].shape[2]
    embedded = F.conv1d(
        voxels[:, None], w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=patch
    )
    first = (w["cls_token"] + w["pos_embed"][:, :1]).expand(len(voxels), -1, -1)
    x = torch.cat([first, embedded.transpose(1, 2) + w["pos_embed"][:, 1:]], dim=1)
    x = layer_norm(w, "norm", transformer(w, "", x, heads), 1e-5)
    x = linear(w, "decoder_embed", x) + w["decoder_pos_embed"]
    x = layer_norm(w, "decoder_norm", transformer(w, "decoder_", x, thin_heads), 1e-5)
    return linear(w, "decoder_pred", x)[:, 1:]


def to_context(w, tokens):
    """Tokens (B, L, D) to context (B, 77, C); a pooled token is mapped along its width alone."""
    for n in (0, 1):
        if f"channel_mapper.{n}.weight" in w:
            tokens = F.conv1d(
                tokens, w[f"channel_mapper.{n}.weight"], w[f"channel_mapper.{n}.bias"]
            )
    return linear(w, "dim_mapper", tokens)


def time_embedding(w, t, context):
    width = w["time_embed.0.weight"].shape[1]
    rates = torch.exp(-np.log(10000) * torch.arange(width // 2) / (width // 2))
    angles = t[:, None].float() * rates
    waves = torch.cat([angles.cos(), angles.sin()], dim=1)
    embedding = linear(w, "time_embed.2", F.silu(linear(w, "time_embed.0", waves)))
    if "time_embed_condtion.weight" in w:
        return embedding + linear(w, "time_embed_condtion", context)[:, 0]
    if "time_embed_condtion.2.weight" not in w:
        return embedding
    for n in (0, 1):
        name = f"time_embed_condtion.{n}"
        context = F.conv1d(context, w[f"{name}.weight"], w[f"{name}.bias"])
    return embedding + linear(w, "time_embed_condtion.2", context)[:, 0]


def residual(w, at, x, embedding):
    h = conv(w, f"{at}.in_layers.2", F.silu(group_norm(w, f"{at}.in_layers.0", x, 1e-5)), padding=1)
    h = h + linear(w, f"{at}.emb_layers.1", F.silu(embedding))[:, :, None, None]
    h = F.silu(group_norm(w, f"{at}.out_layers.0", h, 1e-5))
    h = conv(w, f"{at}.out_layers.3", h, padding=1)
    skip = conv(w, f"{at}.skip_connection", x) if f"{at}.skip_connection.weight" in w else x
    return skip + h


def cross_attention(w, at, x, source, heads):
    q, k, v = (
        linear(w, f"{at}.to_q", x),
        linear(w, f"{at}.to_k", source),
        linear(w, f"{at}.to_v", source),
    )
    return linear(w, f"{at}.to_out.0", attend(q, k, v, heads))


def spatial_transformer(w, at, x, context, heads):
    height, width = x.shape[2:]
    h = conv(w, f"{at}.proj_in", group_norm(w, f"{at}.norm", x, 1e-6)).flatten(2).transpose(1, 2)
    block = f"{at}.transformer_blocks.0"
    own = layer_norm(w, f"{block}.norm1", h, 1e-5)
    h = h + cross_attention(w, f"{block}.attn1", own, own, heads)
    query = layer_norm(w, f"{block}.norm2", h, 1e-5)
    h = h + cross_attention(w, f"{block}.attn2", query, context, heads)
    value, gate = linear(
        w, f"{block}.ff.net.0.proj", layer_norm(w, f"{block}.norm3", h, 1e-5)
    ).chunk(2, dim=-1)
    h = h + linear(w, f"{block}.ff.net.2", value * F.gelu(gate))
    return x + conv(w, f"{at}.proj_out", h.transpose(1, 2).unflatten(2, (height, width)))


def unet_part(w, at, x, embedding, context, heads):
    if f"{at}.in_layers.0.weight" in w:
        return residual(w, at, x, embedding)
    if f"{at}.proj_in.weight" in w:
        return spatial_transformer(w, at, x, context, heads)
    if f"{at}.op.weight" in w:
        return conv(w, f"{at}.op", x, stride=2, padding=1)
    if f"{at}.conv.weight" in w:
        return conv(w, f"{at}.conv", F.interpolate(x, scale_factor=2.0), padding=1)
    return conv(w, at, x, padding=1)


def unet_block(w, at, x, embedding, context, heads):
    for part in range(3):
        if any(name.startswith(f"{at}.{part}.") for name in w):
            x = unet_part(w, f"{at}.{part}", x, embedding, context, heads)
    return x


def predict(w, x, t, context, heads=1):
    """The noise in latents (B, C, H, W) at steps (B,)."""
    embedding, kept, n = time_embedding(w, t, context), [], 0
    while any(name.startswith(f"input_blocks.{n}.") for name in w):
        x = unet_block(w, f"input_blocks.{n}", x, embedding, context, heads)
        kept.append(x)
        n += 1
    x = unet_block(w, "middle_block", x, embedding, context, heads)
    for n in range(len(kept)):
        x = torch.cat([x, kept.pop()], dim=1)
        x = unet_block(w, f"output_blocks.{n}", x, embedding, context, heads)
    return conv(w, "out.2", F.silu(group_norm(w, "out.0", x, 1e-5)), padding=1)


def picture_block(w, at, x):
    h = conv(w, f"{at}.conv1", F.silu(group_norm(w, f"{at}.norm1", x, 1e-6)), padding=1)
    h = conv(w, f"{at}.conv2", F.silu(group_norm(w, f"{at}.norm2", h, 1e-6)), padding=1)
    return h + (conv(w, f"{at}.nin_shortcut", x) if f"{at}.nin_shortcut.weight" in w else x)


def picture_middle(w, at, x):
    x = picture_block(w, f"{at}.block_1", x)
    h = group_norm(w, f"{at}.attn_1.norm", x, 1e-6)
    q, k, v = (conv(w, f"{at}.attn_1.{n}", h).flatten(2).transpose(1, 2) for n in "qkv")
    h = attend(q, k, v, 1).transpose(1, 2).unflatten(2, x.shape[2:])
    return picture_block(w, f"{at}.block_2", x + conv(w, f"{at}.attn_1.proj_out", h))


def blocks_of(w, at):
    n = 0
    while f"{at}.block.{n}.norm1.weight" in w:
        yield f"{at}.block.{n}"
        n += 1


def encode_picture(w, images):
    """Pictures (B, 3, H, W) to latents before quantisation."""
    x, level = conv(w, "encoder.conv_in", images, padding=1), 0
    while f"encoder.down.{level}.block.0.norm1.weight" in w:
        for at in blocks_of(w, f"encoder.down.{level}"):
            x = picture_block(w, at, x)
        if f"encoder.down.{level}.downsample.conv.weight" in w:
            padded = F.pad(x, (0, 1, 0, 1))
            x = conv(w, f"encoder.down.{level}.downsample.conv", padded, stride=2)
        level += 1
    x = F.silu(group_norm(w, "encoder.norm_out", picture_middle(w, "encoder.mid", x), 1e-6))
    return conv(w, "quant_conv", conv(w, "encoder.conv_out", x, padding=1))


def decode_picture(w, latents):
    """Latents, each replaced by its nearest code, to pictures."""
    codes = w["quantize.embedding.weight"]
    flat = latents.movedim(1, -1)
    nearest = torch.cdist(flat.flatten(0, -2), codes).argmin(dim=1)
    x = codes[nearest].view(flat.shape).movedim(-1, 1)
    x = conv(w, "decoder.conv_in", conv(w, "post_quant_conv", x), padding=1)
    x = picture_middle(w, "decoder.mid", x)
    levels = {int(name.split(".")[2]) for name in w if name.startswith("decoder.up.")}
    for level in sorted(levels, reverse=True):
        for at in blocks_of(w, f"decoder.up.{level}"):
            x = picture_block(w, at, x)
        if level:
            wider = F.interpolate(x, scale_factor=2.0)
            x = conv(w, f"decoder.up.{level}.upsample.conv", wider, padding=1)
    return conv(
        w, "decoder.conv_out", F.silu(group_norm(w, "decoder.norm_out", x, 1e-6)), padding=1
    )


def betas():
    """Linear in the square root, 1000 levels, float64."""
    return np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2


def plms(noise_of, x, steps):
    """Pseudo linear multi-step sampling (Liu et al. 2022): `noise_of(x, t)` is the network.

    Timesteps 1, 1 + T/n, ...; the first step averages its slope with that at its end, the next ones
    extrapolate by Adams-Bashforth formulas of growing order.
    """
    abar = np.cumprod(1 - betas())
    times = np.arange(0, 1000, 1000 // steps) + 1
    weights = {1: (3, -1), 2: (23, -16, 5), 3: (55, -59, 37, -9)}
    past = []

    def move(x, noise, k):
        now, then = abar[times[k]], abar[times[k - 1]] if k else abar[0]
        clean = (x - (1 - now) ** 0.5 * noise) / now**0.5
        return then**0.5 * clean + (1 - then) ** 0.5 * noise

    for k in range(len(times) - 1, -1, -1):
        noise = noise_of(x, int(times[k]))
        if not past:
            ahead = noise_of(move(x, noise, k), int(times[max(k - 1, 0)]))
            slope = (noise + ahead) / 2
        else:
            factors = weights[min(len(past), 3)]
            terms = [noise, *past[::-1]]
            slope = sum(f * e for f, e in zip(factors, terms, strict=False)) / sum(factors)
        past.append(noise)
        x = move(x, slope, k)
    return x
