// What is computed a pixel at a time, as one table of functions for each instruction set.
#pragma once

#include "planes.h"

namespace edgesdk {

// Which source pixels cover a destination pixel, and by how many 256ths each.
struct AreaAxis {
  const int32_t* first;   // of each destination pixel
  const int32_t* count;
  const int32_t* offset;  // of its weights
  const int32_t* weights; // noughts make the number of each even
  const int32_t* fours;   // the weights, each four times for the channels
  int uniform; // the count where all pixels have the same and equal weights, else 0
};

struct DownscaleTask {
  const uint8_t* source;
  ptrdiff_t stride;
  int channels, width;        // of the source
  AreaAxis across, down;
  Picture small;
  Plane grey;
  int row_begin, row_end;     // of the small picture
  uint16_t* sums;             // scratch: width * channels + 16
};

// Of the gradients of a patch: sums of their products with their means removed, and their sums.
struct Hessian { float xx, xy, yy, sum_x, sum_y; };
// Of the difference d between the displaced picture and the template: sum of squares and
// projections on the gradients, all with the mean of d removed.
struct Match { float cost, bx, by; };
// A patch's displacement so far, and how it matches there.
struct Patch {
  float u, v;
  Match match;
  Hessian hessian;
};

// Grid of patches on a level.
struct PatchGrid {
  int columns, rows, step;
  Patch* patches;
};

struct SearchTask {
  Level from;     // the templates
  Plane to;       // where they are sought
  Flow coarse;    // of the next coarser level; u.data is null at the coarsest
  PatchGrid grid;
  int iterations;
  Flow flow;      // out
  float* sums[3]; // scratch: three planes of the flow's layout
};

// Scratch of the variational refinement, in rows split into even and odd columns.
struct RefineScratch {
  float* field[12];
  ptrdiff_t row, half; // floats from row to row; from a row's even to its odd columns
  Plane warped, mean;
};

struct RefineTask {
  Plane from, to;
  Flow flow; // in and out
  RefineScratch scratch;
  int outer, inner;
  float smoothness;
};

// Flows as callers hold them: both components of a pixel side by side, strides in floats.
struct JoinTask {
  const float *first, *second;
  float* joined;
  ptrdiff_t first_stride, second_stride, joined_stride;
  int width, height;
  int row_begin, row_end;
};

struct TakeFlowTask {
  const float* pairs;
  ptrdiff_t stride;
  Flow flow; // out, with its border: what is not finite or too long is kNowhere, in both components
};

struct ValidityTask {
  Flow forward, backward;
  Picture frame, key;      // at flow size
  float slope, offset;
  float largest_u, largest_v; // displacements beyond these cannot be rendered
  uint8_t *valid, *residual; // out; rows of `stride` bytes
  ptrdiff_t stride;
  int row_begin, row_end;
};

// What the renderer interpolates, as planes of 16-bit integers at flow size.
struct Fields {
  int16_t* shift[4];  // to A: x, y; to B: x, y; 1/32 full-size pixel
  int16_t* second;    // share of B
  int16_t* covered;   // kFull where a key frame is visible, else 0
  int width, height;
  ptrdiff_t stride;
  uint8_t* row_holes; // 1 where a row has pixels that no key frame covers
};

struct FieldsTask {
  Flow to_a, to_b;
  const uint8_t *valid_a, *valid_b, *residual_a, *residual_b; // null: no such key frame
  ptrdiff_t stride;
  const float* falloff;    // exp(-residual / sigma) for a residual of 0..255
  float tau, scale_x, scale_y;
  Fields fields;
  int row_begin, row_end;
};

// The locally affine colour map of a key frame: colour = gain * original + bias.
struct AffineMap {
  int16_t* gain[3]; // 1/4096
  int16_t* bias[3]; // 1/32 of a level
}; // rows of field_stride

// Where full-size columns lie between the columns of a small field, in blocks of sixteen.
constexpr int kBlock = 16;
struct ColumnBlock {
  int16_t index[kBlock];   // the left column; the right one follows it
  int16_t fraction[kBlock];
  uint8_t near[2 * kBlock]; // byte positions of the left columns after the first of them
  uint8_t far[2 * kBlock];  // of the right ones
};

struct RenderTask {
  Fields fields;
  AffineMap affine;           // of the nearer key frame; null pointers: none needed
  Picture a, b;               // painted; a.data or b.data null: absent
  const uint8_t* original;
  ptrdiff_t original_stride;
  int original_channels;
  uint8_t* output;
  ptrdiff_t output_stride;
  int output_channels;
  int width, height;
  const ColumnBlock* columns;
  bool narrow;                // every block reads at most eight columns of a field
  const int32_t* row_index;   // upper field row and fraction of each full-size row
  const int16_t* row_fraction;
  int16_t* scratch;           // 12 rows of fields.stride
  int row_begin, row_end;
};

struct FitTask {
  Picture original, painted;
  int channel, radius;
  float epsilon;            // full scale squared, times 255 squared
  const float* columns;     // that the window of each column holds; eight more
  int32_t* sums;            // scratch: four rows
  ptrdiff_t sums_stride;    // at least the width and 2 radius + 16
  int32_t *gains, *biases;  // scratch: planes of the map's layout
  int16_t *gain, *bias;     // out; rows of `stride` as the scratch
  ptrdiff_t stride;
};

// What a full-size pixel takes of a small row, or a full-size row of small rows: four cubic taps from
// `first` on, and linearly the two in the middle of them. Small rows begin with two pixels of border.
struct Taps {
  int32_t first;
  float cubic[4], linear;
};

struct EnlargeTask {
  const uint8_t* rows[4];   // small rows: of every pixel the painting's channels, then the original's
  const int16_t* gain[2][3]; // the small rows above and below; 1/4096
  Taps down;
  const Taps* across;       // of every pixel; one more where the width is odd
  int small_width, width;
  float *both, *gains;      // scratch: 8 and 4 floats for each of small_width + 4 pixels
  uint8_t* pixels;          // original in, picture out: RGBA; room for one pixel more
};

struct Kernels {
  const char* name;
  void (*downscale)(const DownscaleTask&);
  void (*extend)(const Plane& plane);
  void (*halve)(const Plane& source, const Plane& target);
  void (*differentiate)(const Level& level);
  void (*search)(const SearchTask&);
  void (*refine)(const RefineTask&);
  void (*double_flow)(const Flow& source, const Flow& target);
  void (*join)(const JoinTask&);
  void (*take_flow)(const TakeFlowTask&);
  void (*judge)(const ValidityTask&);
  void (*make_fields)(const FieldsTask&);
  void (*render)(const RenderTask&);
  void (*enlarge)(const EnlargeTask&);
  void (*fit)(const FitTask&);
};

const Kernels& kernels_scalar();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_neon();

}  // namespace edgesdk
