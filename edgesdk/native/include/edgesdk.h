/* The video core of the edge SDK: dense optical flow, key-frame decisions and in-between frames.
 *
 * Plain C; opaque handles; no exception crosses it. Every function that returns edgesdk_status
 * returns EDGESDK_OK or one of the codes below, and then has changed no output.
 *
 * Words
 *   key frame   A frame a network has painted. A video handle holds two: slot A (the earlier one)
 *               and slot B (the later one; absent while streaming).
 *   original    The frame as the camera gave it. Flow and occlusion come from originals only.
 *   flow size   Originals are scaled by area to flow_width x flow_height; flow is in pixels of it.
 *
 * Images
 *   Rows of pixels from the top, `stride` bytes apart (at least width x bytes per pixel). The
 *   caller owns every image; nothing is kept after a call returns. The input and the output of a
 *   call must not overlap.
 *
 * Threads
 *   Different handles are independent. Calls on one handle must not overlap in time. A handle has
 *   its own worker threads; its results do not depend on their number.
 *
 * Allocation
 *   edgesdk_video_create allocates everything that set_key, set_frame, estimate, measure and
 *   render need. edgesdk_video_upscale allocates when the size of its painting changes.
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

/* Changes whenever a declaration below changes in a way that a caller would notice. */
#define EDGESDK_ABI_VERSION 5

/* Largest width and height of a frame, and of the flow. */
#define EDGESDK_MAX_SIZE 8192
#define EDGESDK_MAX_FLOW_SIZE 1024
#define EDGESDK_MAX_THREADS 64

typedef int32_t edgesdk_status;
enum {
  EDGESDK_OK = 0,
  EDGESDK_ERROR_NULL = 1,         /* a pointer that must not be null is null */
  EDGESDK_ERROR_SIZE = 2,         /* a width, height or stride out of range, or not the handle's */
  EDGESDK_ERROR_FORMAT = 3,       /* an unknown pixel format, or one this call does not take */
  EDGESDK_ERROR_VALUE = 4,        /* a parameter outside its range, or not finite */
  EDGESDK_ERROR_STATE = 5,        /* a key frame, a frame or a flow this call needs is not set */
  EDGESDK_ERROR_MEMORY = 6,       /* out of memory */
  EDGESDK_ERROR_UNSUPPORTED = 7,  /* a path this processor does not have */
  EDGESDK_ERROR_THREAD = 8,       /* worker threads could not be started */
  EDGESDK_ERROR_INTERNAL = 9      /* a bug of this library */
};

enum {
  EDGESDK_FORMAT_RGBA8888 = 1, /* bytes R G B A */
  EDGESDK_FORMAT_RGB888 = 2,   /* bytes R G B */
  EDGESDK_FORMAT_GREY8 = 3     /* one byte; as an input only */
};

/* Instruction sets. All paths give the same bytes. */
enum {
  EDGESDK_PATH_AUTO = 0, /* the fastest this processor has */
  EDGESDK_PATH_SCALAR = 1,
  EDGESDK_PATH_AVX2 = 2,
  EDGESDK_PATH_NEON = 3,
  EDGESDK_PATH_AVX512 = 4 /* with BW, VL and VBMI */
};

enum { EDGESDK_SLOT_A = 0, EDGESDK_SLOT_B = 1 };
/* For edgesdk_video_estimate and edgesdk_video_render. */
enum { EDGESDK_USE_A = 1, EDGESDK_USE_B = 2, EDGESDK_USE_BOTH = 3 };

enum {
  EDGESDK_FLOW_TO_KEY = 0,  /* F(t -> k): where a pixel of the frame lies in the key frame */
  EDGESDK_FLOW_FROM_KEY = 1 /* F(k -> t) */
};

/* Finer levels cost time: FAST searches at half the flow size, PRECISE at the flow size. */
enum { EDGESDK_QUALITY_FAST = 0, EDGESDK_QUALITY_BALANCED = 1, EDGESDK_QUALITY_PRECISE = 2 };

/* Why a frame must be a key frame; several may hold. */
enum {
  EDGESDK_KEY_CUT = 1,      /* the colour histograms differ: a shot cut */
  EDGESDK_KEY_OCCLUDED = 2, /* too much of the frame is not in the last key frame */
  EDGESDK_KEY_RESIDUAL = 4, /* the last key frame, warped, differs too much from the frame */
  EDGESDK_KEY_INTERVAL = 8  /* the longest distance is reached */
};

typedef struct edgesdk_image {
  void* data; /* read only where the parameter is an input */
  int32_t width, height;
  int64_t stride; /* bytes from one row to the next; positive */
  int32_t format;
} edgesdk_image;

typedef struct edgesdk_video_config {
  uint32_t struct_size;        /* sizeof(edgesdk_video_config) of the caller */
  int32_t width, height;       /* of every frame and painted key frame; 1..EDGESDK_MAX_SIZE */
  int32_t flow_width, flow_height; /* 1..EDGESDK_MAX_FLOW_SIZE and at most the frame's */
  int32_t threads;             /* 1..EDGESDK_MAX_THREADS; 0: one for each processor, at most 4 */
  int32_t path;                /* EDGESDK_PATH_... */
  int32_t quality;             /* EDGESDK_QUALITY_... */
  /* A pixel is valid when |F + F'|^2 <= occlusion_slope (|F|^2 + |F'|^2) + occlusion_offset, with
   * F' the opposite flow at its target; pixels of the flow size, squared. */
  float occlusion_slope, occlusion_offset; /* >= 0; 0.01, 0.5 */
  /* Weight of a valid pixel: exp(-residual / sigma), both as a share of full scale. */
  float residual_sigma; /* > 0; 0.05 */
  /* The locally affine colour map of a key frame: window 2 radius + 1 at flow size. */
  int32_t affine_radius;  /* 1..16; 8 */
  float affine_epsilon;   /* > 0; full scale squared; 1e-3 */
  /* Key-frame rule. */
  float cut_correlation;    /* -1..1: a cut below it; 0.6 */
  float occluded_fraction;  /* 0..1; 0.35 */
  float mean_residual;      /* 0..1 of full scale; 10/255 */
  int32_t longest_interval; /* >= 1 frames; 16 */
} edgesdk_video_config;

typedef struct edgesdk_measures {
  float correlation;       /* of the 16x16x16 HSV histograms of the frame and of slot A; -1..1 */
  float occluded_fraction; /* of the frame's pixels, against slot A; 0..1 */
  float mean_residual;     /* |frame - warped key|, mean over channels and valid pixels; 0..1 */
  int32_t reasons;         /* EDGESDK_KEY_... bits; 0: no key frame is needed */
} edgesdk_measures;

typedef struct edgesdk_video edgesdk_video;

/* EDGESDK_ABI_VERSION of the library. */
EDGESDK_API int32_t edgesdk_abi_version(void);
/* One English sentence for a code; never null; static storage. */
EDGESDK_API const char* edgesdk_error_text(edgesdk_status status);
/* 1 when this processor can run the path, else 0. AUTO and SCALAR always. */
EDGESDK_API int32_t edgesdk_path_available(int32_t path);
/* Allocations the library has made since it was loaded, all handles together. Thread safe. */
EDGESDK_API int64_t edgesdk_allocation_count(void);

/* Fill `config` with the defaults for frames of a size: the flow at most 480 x 270 (or 270 x 480)
 * with the frame's aspect ratio. */
EDGESDK_API edgesdk_status edgesdk_video_config_default(int32_t width, int32_t height,
                                                        edgesdk_video_config* config);
/* Make a handle; the caller destroys it. */
EDGESDK_API edgesdk_status edgesdk_video_create(const edgesdk_video_config* config,
                                                edgesdk_video** video);
/* Free a handle and join its threads; null is allowed. */
EDGESDK_API void edgesdk_video_destroy(edgesdk_video* video);
/* The configuration in force, with threads and path as chosen. */
EDGESDK_API edgesdk_status edgesdk_video_config_get(const edgesdk_video* video,
                                                    edgesdk_video_config* config);

/* Set a slot's original, of the handle's size and any format, or as edgesdk_video_get_frame gives it.
 * Its painted picture and its flows are forgotten. */
EDGESDK_API edgesdk_status edgesdk_video_set_key(edgesdk_video* video, int32_t slot,
                                                 const edgesdk_image* original);
/* Set the painted picture of a slot whose original is set; RGBA or RGB. It may come later than
 * edgesdk_video_estimate. */
EDGESDK_API edgesdk_status edgesdk_video_set_painted(edgesdk_video* video, int32_t slot,
                                                     const edgesdk_image* painted);
/* Slot B becomes slot A; slot B and the flows are forgotten. */
EDGESDK_API edgesdk_status edgesdk_video_promote(edgesdk_video* video);
/* Set the present frame t, as edgesdk_video_set_key takes it. The flows are forgotten. */
EDGESDK_API edgesdk_status edgesdk_video_set_frame(edgesdk_video* video,
                                                   const edgesdk_image* original);
/* Copy out the present frame at flow size, RGBA or RGB. Another handle of the same sizes that is
 * given this judges and renders the same without scaling the frame anew; flow found from it differs
 * in the last bits, because its grey values are of whole colours. */
EDGESDK_API edgesdk_status edgesdk_video_get_frame(edgesdk_video* video, const edgesdk_image* frame);
/* Make the present frame the original of a slot without computing it anew. The frame stays. */
EDGESDK_API edgesdk_status edgesdk_video_set_key_from_frame(edgesdk_video* video, int32_t slot);

/* Flow in both directions between the frame and the slots of `use`, occlusion and residual. */
EDGESDK_API edgesdk_status edgesdk_video_estimate(edgesdk_video* video, int32_t use);
/* The same with flows of the caller's: (dx, dy) float pairs at flow size, rows `stride` bytes
 * apart. What is not finite counts as occluded. */
EDGESDK_API edgesdk_status edgesdk_video_set_flow(edgesdk_video* video, int32_t slot,
                                                  const float* to_key, int64_t to_key_stride,
                                                  const float* from_key, int64_t from_key_stride);
/* Join two flows of the handle's flow size: `first` leads from frame t to frame s, `second` from s
 * to r, and `joined` from t to r. It may be one of the two only where that is `first`. Layout as
 * for edgesdk_video_set_flow. */
EDGESDK_API edgesdk_status edgesdk_video_join_flows(edgesdk_video* video, const float* first,
                                                    int64_t first_stride, const float* second,
                                                    int64_t second_stride, float* joined,
                                                    int64_t joined_stride);
/* Copy a flow out: (dx, dy) float pairs at flow size, rows `stride` bytes apart. */
EDGESDK_API edgesdk_status edgesdk_video_get_flow(const edgesdk_video* video, int32_t slot,
                                                  int32_t direction, float* flow, int64_t stride);
/* Copy out, at flow size, a byte a pixel, rows `stride` bytes apart: `valid` (1 or 0) and
 * `residual` (mean over channels of |frame - warped key|, 0..255). Either may be null. */
EDGESDK_API edgesdk_status edgesdk_video_get_validity(edgesdk_video* video, int32_t slot,
                                                      uint8_t* valid, uint8_t* residual,
                                                      int64_t stride);
/* Give what edgesdk_video_get_validity of another handle of the same sizes and settings found for the
 * same frame, key frame and flow, after the flow is set, so that it need not be found anew. */
EDGESDK_API edgesdk_status edgesdk_video_set_validity(edgesdk_video* video, int32_t slot,
                                                      const uint8_t* valid,
                                                      const uint8_t* residual, int64_t stride);
/* Judge the present frame against slot A, `distance` >= 1 frames later. Needs
 * edgesdk_video_estimate with slot A. */
EDGESDK_API edgesdk_status edgesdk_video_measure(edgesdk_video* video, int32_t distance,
                                                 edgesdk_measures* measures);
/* The correlation alone, which needs no flow: of the frame with the key frame of a slot. */
EDGESDK_API edgesdk_status edgesdk_video_correlation(edgesdk_video* video, int32_t slot,
                                                     float* correlation);

/* Paint the present frame. `tau` in 0..1 is its place in time between slot A (0) and slot B (1);
 * with one slot it is ignored, except that at tau 0 (slot A) and tau 1 (slot B) the output is that
 * key frame's painted picture, bit for bit. `original` is the frame given to set_frame, in any
 * format. `output` is RGBA or RGB of the handle's size. */
EDGESDK_API edgesdk_status edgesdk_video_render(edgesdk_video* video, int32_t use, float tau,
                                                const edgesdk_image* original,
                                                const edgesdk_image* output);

/* Scale a picture down by area, in any thread: `original` of any format, `small` RGBA or RGB and
 * nowhere larger. This is what a painter should be shown: see edgesdk_video_upscale. */
EDGESDK_API edgesdk_status edgesdk_video_shrink(const edgesdk_image* original,
                                                const edgesdk_image* small);
/* Enlarge a painted picture (RGBA or RGB, any size up to the handle's) to the handle's size along
 * the edges of its full-size original: bicubic interpolation, plus the original's detail scaled by
 * how strongly the painting follows it there. `shrunk` is what edgesdk_video_shrink makes of the
 * original at the size of the painting, RGBA or RGB; null has it made anew. */
EDGESDK_API edgesdk_status edgesdk_video_upscale(edgesdk_video* video, const edgesdk_image* painted,
                                                 const edgesdk_image* original,
                                                 const edgesdk_image* shrunk,
                                                 const edgesdk_image* output);

#ifdef __cplusplus
}
#endif
#endif
