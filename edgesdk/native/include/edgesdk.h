/* The video core of the edge SDK: dense optical flow, key-frame decisions, in-between frames.
 *
 * Plain C with opaque handles; no C++ exception leaves the library. A function that returns
 * edgesdk_status returns EDGESDK_OK or an error code below. After an error no output has changed.
 *
 * Terms
 *   key frame   A frame painted by a network. A video handle holds two: slot A (the earlier one)
 *               and slot B (the later one; unused while streaming).
 *   original    The frame from the camera. Flow and occlusion are computed from originals only.
 *   flow size   flow_width x flow_height, to which originals are scaled down by area. Flow is in
 *               pixels of this size.
 *
 * Images
 *   Rows of pixels from the top, `stride` bytes apart (at least width x bytes per pixel). The
 *   caller owns every image; the library keeps no pointer after a call returns. Input and output
 *   of a call must not overlap.
 *
 * Threads
 *   Handles are independent of each other. Calls on one handle must not overlap in time. A handle
 *   has its own worker threads; results do not depend on their number.
 *
 * Allocation
 *   edgesdk_video_create allocates everything that set_key, set_frame, estimate, measure and
 *   render need. edgesdk_video_upscale allocates only if the size of the painting changes.
 */
#ifndef EDGESDK_H
#define EDGESDK_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EDGESDK_API __declspec(dllexport)
#else
#define EDGESDK_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Increases with every change of a declaration below that callers would notice. */
#define EDGESDK_ABI_VERSION 5

/* Maximum width and height of a frame and of the flow; maximum number of threads. */
#define EDGESDK_MAX_SIZE 8192
#define EDGESDK_MAX_FLOW_SIZE 1024
#define EDGESDK_MAX_THREADS 64

typedef int32_t edgesdk_status;
enum {
  EDGESDK_OK = 0,
  EDGESDK_ERROR_NULL = 1,         /* a pointer that must not be null is null */
  EDGESDK_ERROR_SIZE = 2,         /* a width, height or stride out of range, or not the handle's */
  EDGESDK_ERROR_FORMAT = 3,       /* a pixel format that is unknown or not allowed here */
  EDGESDK_ERROR_VALUE = 4,        /* a parameter outside its range, or not finite */
  EDGESDK_ERROR_STATE = 5,        /* the call needs a key frame, frame or flow that is not set */
  EDGESDK_ERROR_MEMORY = 6,       /* out of memory */
  EDGESDK_ERROR_UNSUPPORTED = 7,  /* an instruction set this processor lacks */
  EDGESDK_ERROR_THREAD = 8,       /* worker threads could not be started */
  EDGESDK_ERROR_INTERNAL = 9      /* a bug in this library */
};

enum {
  EDGESDK_FORMAT_RGBA8888 = 1, /* bytes R G B A */
  EDGESDK_FORMAT_RGB888 = 2,   /* bytes R G B */
  EDGESDK_FORMAT_GREY8 = 3     /* one byte; input only */
};

/* Instruction sets. All of them give the same bytes. */
enum {
  EDGESDK_PATH_AUTO = 0, /* the fastest of this processor */
  EDGESDK_PATH_SCALAR = 1,
  EDGESDK_PATH_AVX2 = 2,
  EDGESDK_PATH_NEON = 3,
  EDGESDK_PATH_AVX512 = 4 /* with BW, VL and VBMI */
};

enum { EDGESDK_SLOT_A = 0, EDGESDK_SLOT_B = 1 };
/* Slots that edgesdk_video_estimate and edgesdk_video_render use. */
enum { EDGESDK_USE_A = 1, EDGESDK_USE_B = 2, EDGESDK_USE_BOTH = 3 };

enum {
  EDGESDK_FLOW_TO_KEY = 0,  /* F(t -> k): from the frame to the key frame */
  EDGESDK_FLOW_FROM_KEY = 1 /* F(k -> t): from the key frame to the frame */
};

/* Quality of the flow against time: FAST ends at half the flow size, the others at flow size. */
enum { EDGESDK_QUALITY_FAST = 0, EDGESDK_QUALITY_BALANCED = 1, EDGESDK_QUALITY_PRECISE = 2 };

/* Reasons for a key frame; bits that combine. */
enum {
  EDGESDK_KEY_CUT = 1,      /* the colour histograms differ: a shot cut */
  EDGESDK_KEY_OCCLUDED = 2, /* the last key frame does not show enough of the frame */
  EDGESDK_KEY_RESIDUAL = 4, /* the last key frame, warped, differs too much from the frame */
  EDGESDK_KEY_INTERVAL = 8  /* longest_interval is reached */
};

typedef struct edgesdk_image {
  void* data; /* not written if the parameter is an input */
  int32_t width, height;
  int64_t stride; /* bytes from one row to the next; positive */
  int32_t format;
} edgesdk_image;

typedef struct edgesdk_video_config {
  uint32_t struct_size;        /* sizeof(edgesdk_video_config) in the caller */
  int32_t width, height;       /* of every frame and painting; 1..EDGESDK_MAX_SIZE */
  int32_t flow_width, flow_height; /* 1..EDGESDK_MAX_FLOW_SIZE, at most the frame's */
  int32_t threads;             /* 1..EDGESDK_MAX_THREADS; 0: one a processor, at most 4 */
  int32_t path;                /* EDGESDK_PATH_... */
  int32_t quality;             /* EDGESDK_QUALITY_... */
  /* Below: range; default. */
  /* A pixel is valid if |F + F'|^2 <= occlusion_slope (|F|^2 + |F'|^2) + occlusion_offset, with
   * F' the opposite flow at its target; pixels of the flow size, squared. */
  float occlusion_slope, occlusion_offset; /* >= 0; 0.01, 0.5 */
  /* Weight of a valid pixel: exp(-residual / sigma), both as a share of full scale. */
  float residual_sigma; /* > 0; 0.05 */
  /* Locally affine colour map of a key frame, over windows of 2 radius + 1 at flow size. */
  int32_t affine_radius;  /* 1..16; 8 */
  float affine_epsilon;   /* > 0, full scale squared; 1e-3 */
  /* A frame is a key frame if its correlation is below cut_correlation, or if its measures exceed
   * one of the others. */
  float cut_correlation;    /* -1..1; 0.6 */
  float occluded_fraction;  /* 0..1; 0.35 */
  float mean_residual;      /* 0..1 of full scale; 10/255 */
  int32_t longest_interval; /* >= 1 frames; 16 */
} edgesdk_video_config;

typedef struct edgesdk_measures {
  float correlation;       /* of the 16x16x16 HSV histograms of frame and slot A; -1..1 */
  float occluded_fraction; /* share of the frame's pixels that slot A does not show; 0..1 */
  float mean_residual;     /* mean |frame - warped key| of channels and valid pixels; 0..1 */
  int32_t reasons;         /* EDGESDK_KEY_... bits; 0: not a key frame */
} edgesdk_measures;

typedef struct edgesdk_video edgesdk_video;

/* Return EDGESDK_ABI_VERSION of the library. */
EDGESDK_API int32_t edgesdk_abi_version(void);
/* Describe a code in one English sentence; never null; static storage. */
EDGESDK_API const char* edgesdk_error_text(edgesdk_status status);
/* Return 1 if this processor can run an instruction set (always for AUTO and SCALAR), else 0. */
EDGESDK_API int32_t edgesdk_path_available(int32_t path);
/* Return the number of allocations since the library was loaded, all handles. Thread safe. */
EDGESDK_API int64_t edgesdk_allocation_count(void);

/* Fill `config` with the defaults for a frame size. The flow has the frame's aspect ratio within
 * 480 x 270 (or 270 x 480). */
EDGESDK_API edgesdk_status edgesdk_video_config_default(int32_t width, int32_t height,
                                                        edgesdk_video_config* config);
/* Create a handle; the caller destroys it. */
EDGESDK_API edgesdk_status edgesdk_video_create(const edgesdk_video_config* config,
                                                edgesdk_video** video);
/* Join the threads of a handle and free it; null is allowed. */
EDGESDK_API void edgesdk_video_destroy(edgesdk_video* video);
/* Copy out the configuration in use, with the chosen threads and path. */
EDGESDK_API edgesdk_status edgesdk_video_config_get(const edgesdk_video* video,
                                                    edgesdk_video_config* config);

/* Set a slot's original: any format, of the handle's size, or as returned by
 * edgesdk_video_get_frame. Drops the slot's painting and flows. */
EDGESDK_API edgesdk_status edgesdk_video_set_key(edgesdk_video* video, int32_t slot,
                                                 const edgesdk_image* original);
/* Set the painting of a slot whose original is set; RGBA or RGB. It may follow
 * edgesdk_video_estimate. */
EDGESDK_API edgesdk_status edgesdk_video_set_painted(edgesdk_video* video, int32_t slot,
                                                     const edgesdk_image* painted);
/* Move slot B to slot A; drop the flows. */
EDGESDK_API edgesdk_status edgesdk_video_promote(edgesdk_video* video);
/* Set the present frame t, in the formats of edgesdk_video_set_key. Drops the flows. */
EDGESDK_API edgesdk_status edgesdk_video_set_frame(edgesdk_video* video,
                                                   const edgesdk_image* original);
/* Copy out the present frame at flow size, RGBA or RGB. Another handle of the same sizes measures
 * and renders the same from it without scaling the frame again. Flow estimated from it differs in
 * the last bits, because grey values then come from rounded colours. */
EDGESDK_API edgesdk_status edgesdk_video_get_frame(edgesdk_video* video, const edgesdk_image* frame);
/* Make the present frame the original of a slot without recomputing it. The frame stays set. */
EDGESDK_API edgesdk_status edgesdk_video_set_key_from_frame(edgesdk_video* video, int32_t slot);

/* Estimate flow in both directions between the frame and the slots of `use`, occlusion and
 * residual. */
EDGESDK_API edgesdk_status edgesdk_video_estimate(edgesdk_video* video, int32_t use);
/* Set flows of the caller instead: (dx, dy) float pairs at flow size, rows `stride` bytes apart.
 * Values that are not finite count as occluded. */
EDGESDK_API edgesdk_status edgesdk_video_set_flow(edgesdk_video* video, int32_t slot,
                                                  const float* to_key, int64_t to_key_stride,
                                                  const float* from_key, int64_t from_key_stride);
/* Join two flows of the handle's flow size: `first` from frame t to frame s and `second` from s to
 * r give `joined` from t to r. `joined` may be `first`, but not `second`. Layout as for
 * edgesdk_video_set_flow. */
EDGESDK_API edgesdk_status edgesdk_video_join_flows(edgesdk_video* video, const float* first,
                                                    int64_t first_stride, const float* second,
                                                    int64_t second_stride, float* joined,
                                                    int64_t joined_stride);
/* Copy a flow out: (dx, dy) float pairs at flow size, rows `stride` bytes apart. */
EDGESDK_API edgesdk_status edgesdk_video_get_flow(const edgesdk_video* video, int32_t slot,
                                                  int32_t direction, float* flow, int64_t stride);
/* Copy out one byte a pixel at flow size, rows `stride` bytes apart: `valid` (1 or 0) and
 * `residual` (mean over channels of |frame - warped key|, 0..255). Either may be null. */
EDGESDK_API edgesdk_status edgesdk_video_get_validity(edgesdk_video* video, int32_t slot,
                                                      uint8_t* valid, uint8_t* residual,
                                                      int64_t stride);
/* Set the result of edgesdk_video_get_validity of another handle with the same sizes and settings,
 * for the same frame, key frame and flow, instead of computing it again. Set the flow first. */
EDGESDK_API edgesdk_status edgesdk_video_set_validity(edgesdk_video* video, int32_t slot,
                                                      const uint8_t* valid,
                                                      const uint8_t* residual, int64_t stride);
/* Measure the present frame against slot A, `distance` >= 1 frames later. Needs
 * edgesdk_video_estimate with slot A. */
EDGESDK_API edgesdk_status edgesdk_video_measure(edgesdk_video* video, int32_t distance,
                                                 edgesdk_measures* measures);
/* Measure only the correlation of the frame with the key frame of a slot; needs no flow. */
EDGESDK_API edgesdk_status edgesdk_video_correlation(edgesdk_video* video, int32_t slot,
                                                     float* correlation);

/* Paint the present frame. `tau` in 0..1 is its position in time between slot A (0) and slot B
 * (1). With one slot it is ignored, except that tau 0 (slot A) and tau 1 (slot B) output that key
 * frame's painting bit for bit. `original` is the frame passed to set_frame, in any format.
 * `output` is RGBA or RGB of the handle's size. */
EDGESDK_API edgesdk_status edgesdk_video_render(edgesdk_video* video, int32_t use, float tau,
                                                const edgesdk_image* original,
                                                const edgesdk_image* output);

/* Scale a picture down by area, in any thread: `original` in any format, `small` RGBA or RGB and
 * not larger in either direction. Show painters this picture: see edgesdk_video_upscale. */
EDGESDK_API edgesdk_status edgesdk_video_shrink(const edgesdk_image* original,
                                                const edgesdk_image* small);
/* Enlarge a painting (RGBA or RGB, any size up to the handle's) to the handle's size along the
 * edges of its full-size original: bicubic interpolation, plus the original's detail, scaled by how
 * strongly the painting follows it there. `shrunk` is the output of edgesdk_video_shrink for the
 * original at the size of the painting, RGBA or RGB; null computes it. */
EDGESDK_API edgesdk_status edgesdk_video_upscale(edgesdk_video* video, const edgesdk_image* painted,
                                                 const edgesdk_image* original,
                                                 const edgesdk_image* shrunk,
                                                 const edgesdk_image* output);

#ifdef __cplusplus
}
#endif
#endif
