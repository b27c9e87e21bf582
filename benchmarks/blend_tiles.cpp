// Blending of 3D Gaussians and its gradient as one would write it for a vector unit by hand: a tile row is one vector.
// raster_floor.py compiles it and holds the package's kernels against it; layouts are those of recon/raster/layout.py.
#include <algorithm>
#include <cmath>
#include <cstdint>

constexpr int kTile = 16, kRecord = 16, kChannels = 7;  // colour, normal, depth
typedef float Row __attribute__((vector_size(4 * kTile)));
typedef int32_t Mask __attribute__((vector_size(4 * kTile)));

static inline Row all(float x) { return Row{} + x; }
static inline Row pick(Mask m, Row a, Row b) { return (Row)((m & (Mask)a) | (~m & (Mask)b)); }
static inline Row lanes() {
  Row x;
  for (int k = 0; k < kTile; ++k) x[k] = float(k);
  return x;
}
static inline float sum(Row a) {
  float total = 0;
  for (int k = 0; k < kTile; ++k) total += a[k];
  return total;
}
static inline bool any_above(Row a, float x) {
  bool found = false;
  for (int k = 0; k < kTile; ++k) found |= a[k] > x;
  return found;
}
static inline Row exp2_of(Row x) {  // -30 <= x <= 0: 2^x = 2^whole * 2^rest, rest in [-1/2, 1/2]
  Mask whole = __builtin_convertvector(x - 0.5f, Mask);  // truncates toward zero
  Row rest = x - __builtin_convertvector(whole, Row);
  Row p = rest * 0.001327647129f + 0.009675541893f;
  p = p * rest + 0.05550713092f;
  p = p * rest + 0.24022120237f;
  p = p * rest + 0.69314694405f;
  p = p * rest + 1.00000011921f;
  return p * (Row)((whole + 127) << 23);
}

struct Footprint {
  float x, y, xx, xy, yy, log2_opacity;
  int first, last;
  const float* colour;
  Footprint(const double* mean, const float* record, int tile_x, int tile_y)
      : x(float(mean[0] - (tile_x * kTile + 0.5))), y(float(mean[1] - (tile_y * kTile + 0.5))),
        xx(record[0]), xy(record[1]), yy(record[2]), log2_opacity(record[3]),
        first(std::max(0, int(std::ceil(y - record[4])))), last(std::min(kTile - 1, int(std::floor(y + record[4])))),
        colour(record + 8) {}
};

extern "C" void blend(int64_t tiles, int width, int height, const int64_t* starts, const int32_t* splat,
                      const double* means, const float* records, int32_t* used, float* out, float* alpha,
                      int32_t* median) {
  const int across = (width + kTile - 1) / kTile;
  const Row lane = lanes();
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int tile_y = int(tile / across), tile_x = int(tile % across);
    Row left[kTile], sums[kTile][kChannels], half[kTile];
    bool open[kTile];
    for (int r = 0; r < kTile; ++r) {
      open[r] = tile_y * kTile + r < height;
      for (int k = 0; k < kTile; ++k) left[r][k] = open[r] && tile_x * kTile + k < width;
      half[r] = all(0);
      for (auto& channel : sums[r]) channel = all(0);
    }
    int count = 0;
    for (int64_t pair = starts[tile]; pair < starts[tile + 1]; ++pair) {
      const int64_t i = splat[pair];
      const Footprint f(means + 3 * i, records + kRecord * i, tile_x, tile_y);
      ++count;
      for (int r = f.first; r <= f.last; ++r) {
        if (!open[r]) continue;
        const float dy = r - f.y;
        const Row s = lane * f.xx + (f.xy * dy - f.xx * f.x);
        Row power = (f.log2_opacity - f.yy * dy * f.yy * dy) - s * s;
        power = pick(power > -30.f, power, all(-30.f));
        const Row raw = exp2_of(power), before = left[r];
        const Mask drawn = (raw >= 1 / 255.f) & (before > 1e-4f);
        const Row weight = pick(drawn, pick(raw < 0.999f, raw, all(0.999f)), all(0)) * before;
        left[r] = before - weight;
        half[r] = pick(drawn & (before > 0.5f), all(float(count)), half[r]);
        for (int c = 0; c < kChannels; ++c) sums[r][c] += weight * f.colour[c];
      }
      if (count % 16 == 0) {
        bool more = false;
        for (int r = 0; r < kTile; ++r) more |= open[r] = open[r] && any_above(left[r], 1e-4f);
        if (!more) break;
      }
    }
    used[tile] = count;
    for (int r = 0; r < std::min(kTile, height - tile_y * kTile); ++r)
      for (int k = 0; k < std::min(kTile, width - tile_x * kTile); ++k) {
        const int64_t pixel = int64_t(tile_y * kTile + r) * width + tile_x * kTile + k;
        alpha[pixel] = 1 - left[r][k];
        median[pixel] = half[r][k] > 0 ? int32_t(starts[tile] + int64_t(half[r][k]) - 1) : -1;
        for (int c = 0; c < kChannels; ++c) out[pixel * kChannels + c] = sums[r][c][k];
      }
  }
}

extern "C" void blend_backward(int64_t tiles, int width, int height, const int64_t* starts, const int32_t* splat,
                               const double* means, const float* records, const int32_t* used, const float* out,
                               const float* alpha, const float* g_out, const float* g_alpha, const int32_t* row_of,
                               float* pair_grads) {
  const int across = (width + kTile - 1) / kTile;
  const Row lane = lanes();
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int tile_y = int(tile / across), tile_x = int(tile % across);
    Row left[kTile], behind[kTile], g[kTile][kChannels + 1];
    bool open[kTile];
    for (int r = 0; r < kTile; ++r) {
      open[r] = tile_y * kTile + r < height;
      left[r] = behind[r] = all(0);
      for (auto& channel : g[r]) channel = all(0);
      for (int k = 0; open[r] && k < std::min(kTile, width - tile_x * kTile); ++k) {
        const int64_t pixel = int64_t(tile_y * kTile + r) * width + tile_x * kTile + k;
        left[r][k] = 1;
        g[r][kChannels][k] = g_alpha[pixel];
        float all_of_it = alpha[pixel] * g_alpha[pixel];
        for (int c = 0; c < kChannels; ++c) {
          g[r][c][k] = g_out[pixel * kChannels + c];
          all_of_it += g[r][c][k] * out[pixel * kChannels + c];
        }
        behind[r][k] = all_of_it;
      }
    }
    for (int64_t n = 0, pair = starts[tile]; pair < starts[tile + 1]; ++pair) {
      float* grads = pair_grads + int64_t(kRecord) * row_of[pair];
      if (n++ >= used[tile]) {
        std::fill(grads, grads + kRecord, 0.f);
        continue;
      }
      const int64_t i = splat[pair];
      const Footprint f(means + 3 * i, records + kRecord * i, tile_x, tile_y);
      Row moments[6], colours[kChannels];
      for (auto& each : moments) each = all(0);
      for (auto& each : colours) each = all(0);
      for (int r = f.first; r <= f.last; ++r) {
        if (!open[r]) continue;
        const float dy = r - f.y, t = f.yy * dy;
        const Row s = lane * f.xx + (f.xy * dy - f.xx * f.x);
        Row power = (f.log2_opacity - t * t) - s * s;
        power = pick(power > -30.f, power, all(-30.f));
        const Row raw = exp2_of(power), before = left[r];
        const Mask drawn = (raw >= 1 / 255.f) & (before > 1e-4f);
        const Row own = pick(drawn, pick(raw < 0.999f, raw, all(0.999f)), all(0)), weight = own * before;
        Row g_weight = g[r][kChannels];
        for (int c = 0; c < kChannels; ++c) g_weight += f.colour[c] * g[r][c];
        const Row here = weight * g_weight;
        behind[r] -= here;
        left[r] = before - weight;
        const Row g_log = pick(raw <= 0.999f, here - own * behind[r] / (1 - own), all(0)), g_s = g_log * s, g_t = g_log * t;
        moments[0] += g_log;
        moments[1] += g_s;
        moments[2] += g_t;
        moments[3] += g_s * s;
        moments[4] += g_s * t;
        moments[5] += g_t * t;
        for (int c = 0; c < kChannels; ++c) colours[c] += weight * g[r][c];
      }
      for (int c = 0; c < 6; ++c) grads[c] = sum(moments[c]);
      for (int c = 0; c < kChannels; ++c) grads[8 + c] = sum(colours[c]);
      if (n % 16 == 0)
        for (int r = 0; r < kTile; ++r) open[r] = open[r] && any_above(left[r], 1e-4f);
    }
  }
}
