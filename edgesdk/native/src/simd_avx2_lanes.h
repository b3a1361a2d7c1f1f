// Eight lanes in AVX2; see simd_scalar.h for what each operation means. Included inside a namespace,
// of AVX2 and of AVX-512, because what is inline must not be shared by builds for other processors.

struct F8 { __m256 v; };
struct I8 { __m256i v; };
struct S8 { __m128i v; };
struct Bytes16 { __m128i v; };

static inline F8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
static inline void store(float* p, F8 a) { _mm256_storeu_ps(p, a.v); }
static inline F8 f8(float x) { return {_mm256_set1_ps(x)}; }
static inline F8 operator+(F8 a, F8 b) { return {_mm256_add_ps(a.v, b.v)}; }
static inline F8 operator-(F8 a, F8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
static inline F8 operator*(F8 a, F8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
static inline F8 operator/(F8 a, F8 b) { return {_mm256_div_ps(a.v, b.v)}; }
static inline F8 min(F8 a, F8 b) { return {_mm256_min_ps(a.v, b.v)}; }
static inline F8 max(F8 a, F8 b) { return {_mm256_max_ps(a.v, b.v)}; }
static inline F8 abs(F8 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
static inline F8 sqrt(F8 a) { return {_mm256_sqrt_ps(a.v)}; }
static inline F8 floor(F8 a) { return {_mm256_floor_ps(a.v)}; }
static inline F8 at_most(F8 a, F8 b) {
  return {_mm256_and_ps(_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ), _mm256_set1_ps(1.0f))};
}
// `a` where its length is below the limit, else the limit: what is not a number, too.
static inline F8 bounded(F8 a, F8 limit) {
  return {_mm256_blendv_ps(limit.v, a.v, _mm256_cmp_ps(abs(a).v, limit.v, _CMP_LT_OQ))};
}
static inline float sum(F8 a) {
  const __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 t = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_shuffle_ps(t, t, 1)));
}
static inline F8 gather(const float* p, I8 index) {
  return {_mm256_i32gather_ps(p, index.v, 4)};
}
static inline void deinterleave(F8 a, F8 b, F8* even, F8* odd) {
  const __m256 low = _mm256_permute2f128_ps(a.v, b.v, 0x20);
  const __m256 high = _mm256_permute2f128_ps(a.v, b.v, 0x31);
  even->v = _mm256_shuffle_ps(low, high, 0x88);
  odd->v = _mm256_shuffle_ps(low, high, 0xDD);
}
static inline void gather_pairs(const float* p, I8 index, F8* first, F8* second) {
  const double* pairs = reinterpret_cast<const double*>(p);
  const __m256d low = _mm256_i32gather_pd(pairs, _mm256_castsi256_si128(index.v), 4);
  const __m256d high = _mm256_i32gather_pd(pairs, _mm256_extracti128_si256(index.v, 1), 4);
  deinterleave({_mm256_castpd_ps(low)}, {_mm256_castpd_ps(high)}, first, second);
}
static inline void interleave(F8 even, F8 odd, F8* a, F8* b) {
  const __m256 low = _mm256_unpacklo_ps(even.v, odd.v);
  const __m256 high = _mm256_unpackhi_ps(even.v, odd.v);
  a->v = _mm256_permute2f128_ps(low, high, 0x20);
  b->v = _mm256_permute2f128_ps(low, high, 0x31);
}
static inline F8 load_halves(const float* low, const float* high) {
  return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1)};
}
static inline F8 f4_4(float low, float high) {
  return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_set1_ps(low)), _mm_set1_ps(high), 1)};
}
static inline void halves(F8 a, F8 b, F8* low, F8* high) {
  low->v = _mm256_permute2f128_ps(a.v, b.v, 0x20);
  high->v = _mm256_permute2f128_ps(a.v, b.v, 0x31);
}

static inline I8 load(const int32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
static inline I8 load_words(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
static inline void store(int32_t* p, I8 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}
static inline I8 i8(int32_t x) { return {_mm256_set1_epi32(x)}; }
static inline I8 iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
static inline I8 operator+(I8 a, I8 b) { return {_mm256_add_epi32(a.v, b.v)}; }
static inline I8 operator-(I8 a, I8 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
static inline I8 operator*(I8 a, I8 b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
static inline I8 operator&(I8 a, I8 b) { return {_mm256_and_si256(a.v, b.v)}; }
static inline I8 min(I8 a, I8 b) { return {_mm256_min_epi32(a.v, b.v)}; }
static inline I8 max(I8 a, I8 b) { return {_mm256_max_epi32(a.v, b.v)}; }
template <int bits>
static inline I8 shift_right(I8 a) { return {_mm256_srai_epi32(a.v, bits)}; }
template <int bits>
static inline I8 shift_left(I8 a) { return {_mm256_slli_epi32(a.v, bits)}; }
static inline F8 to_float(I8 a) { return {_mm256_cvtepi32_ps(a.v)}; }
static inline I8 to_int(F8 a) { return {_mm256_cvttps_epi32(a.v)}; }

static inline __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
static inline S8 load(const int16_t* p) { return {load128(p)}; }
static inline void store(int16_t* p, S8 a) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), a.v); }
static inline S8 operator+(S8 a, S8 b) { return {_mm_add_epi16(a.v, b.v)}; }
static inline S8 operator-(S8 a, S8 b) { return {_mm_sub_epi16(a.v, b.v)}; }
static inline S8 multiply_rounded(S8 a, S8 b) { return {_mm_mulhrs_epi16(a.v, b.v)}; }
static inline I8 widen(S8 a) { return {_mm256_cvtepi16_epi32(a.v)}; }
static inline S8 narrow(I8 a) {
  return {_mm_packs_epi32(_mm256_castsi256_si128(a.v), _mm256_extracti128_si256(a.v, 1))};
}
static inline I8 widen_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))};
}
static inline I8 widen_fours(const uint16_t* low, const uint16_t* high) {
  const __m128i near = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(low));
  const __m128i far = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(high));
  return {_mm256_cvtepu16_epi32(_mm_unpacklo_epi64(near, far))};
}
static inline S8 s8(int16_t x) { return {_mm_set1_epi16(x)}; }
static inline S8 iota16() { return {_mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7)}; }
static inline S8 operator&(S8 a, S8 b) { return {_mm_and_si128(a.v, b.v)}; }
static inline S8 min(S8 a, S8 b) { return {_mm_min_epi16(a.v, b.v)}; }
static inline S8 max(S8 a, S8 b) { return {_mm_max_epi16(a.v, b.v)}; }
template <int bits>
static inline S8 shift_right(S8 a) { return {_mm_srai_epi16(a.v, bits)}; }
template <int bits>
static inline S8 shift_left(S8 a) { return {_mm_slli_epi16(a.v, bits)}; }
static inline int first(S8 a) { return static_cast<int16_t>(_mm_extract_epi16(a.v, 0)); }
static inline int first(I8 a) { return _mm_cvtsi128_si32(_mm256_castsi256_si128(a.v)); }
static inline bool all_equal(I8 a, int32_t x) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi32(a.v, _mm256_set1_epi32(x))) == -1;
}
static inline void store_bytes(uint8_t* p, I8 a) {
  const __m128i words = narrow(a).v;
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
static inline bool all_equal(S8 a, int16_t x) {
  return _mm_movemask_epi8(_mm_cmpeq_epi16(a.v, _mm_set1_epi16(x))) == 0xFFFF;
}
static inline Bytes16 load_bytes(const uint8_t* p) { return {load128(p)}; }
static inline S8 pick(S8 a, Bytes16 index) { return {_mm_shuffle_epi8(a.v, index.v)}; }

// Sixteen 16-bit lanes.
struct S16 { __m256i v; };
struct Bytes32 { __m256i v; };

static inline S8 low_half(S16 a) { return {_mm256_castsi256_si128(a.v)}; }
static inline S8 high_half(S16 a) { return {_mm256_extracti128_si256(a.v, 1)}; }
static inline S16 load_wide(const int16_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
static inline Bytes32 load_wide_bytes(const uint8_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
}
static inline S16 s16(int16_t x) { return {_mm256_set1_epi16(x)}; }
static inline S16 iota_wide() {
  return {_mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
static inline S16 operator+(S16 a, S16 b) { return {_mm256_add_epi16(a.v, b.v)}; }
static inline S16 operator-(S16 a, S16 b) { return {_mm256_sub_epi16(a.v, b.v)}; }
static inline S16 operator&(S16 a, S16 b) { return {_mm256_and_si256(a.v, b.v)}; }
static inline S16 min(S16 a, S16 b) { return {_mm256_min_epi16(a.v, b.v)}; }
static inline S16 max(S16 a, S16 b) { return {_mm256_max_epi16(a.v, b.v)}; }
static inline S16 multiply_rounded(S16 a, S16 b) { return {_mm256_mulhrs_epi16(a.v, b.v)}; }
static inline S16 multiply_down(S16 a, S16 b) {
  return {_mm256_or_si256(_mm256_slli_epi16(_mm256_mulhi_epi16(a.v, b.v), 9),
                          _mm256_srli_epi16(_mm256_mullo_epi16(a.v, b.v), 7))};
}
static inline S16 add_saturated(S16 a, S16 b) { return {_mm256_adds_epi16(a.v, b.v)}; }
// Of four pixels at a time, which begin four bytes later in the second load.
static inline S16 load_wide_channel(const uint8_t* rgb, int channel) {
  const auto c = static_cast<char>(channel);
  const __m256i places = _mm256_broadcastsi128_si256(_mm_add_epi8(
      _mm_setr_epi8(0, -128, 3, -128, 6, -128, 9, -128, 4, -128, 7, -128, 10, -128, 13, -128),
      _mm_setr_epi8(c, 0, c, 0, c, 0, c, 0, c, 0, c, 0, c, 0, c, 0)));
  const auto two = [](const uint8_t* low, const uint8_t* high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(load128(low)), load128(high), 1);
  };
  return {_mm256_blend_epi32(_mm256_shuffle_epi8(two(rgb, rgb + 24), places),
                             _mm256_shuffle_epi8(two(rgb + 8, rgb + 32), places), 0xCC)};
}
template <int bits>
static inline S16 shift_right(S16 a) { return {_mm256_srai_epi16(a.v, bits)}; }
template <int bits>
static inline S16 shift_left(S16 a) { return {_mm256_slli_epi16(a.v, bits)}; }
static inline bool all_equal(S16 a, int16_t x) {
  return _mm256_movemask_epi8(_mm256_cmpeq_epi16(a.v, _mm256_set1_epi16(x))) == -1;
}
static inline S16 pick(S8 a, Bytes32 index) {
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(a.v), index.v)};
}

struct Sum16 { __m256i v; };
static inline Sum16 zero_sum() { return {_mm256_setzero_si256()}; }
static inline Sum16 add_weighted(Sum16 acc, const uint8_t* bytes, int weight) {
  const __m256i wide = _mm256_cvtepu8_epi16(load128(bytes));
  const __m256i product =
      _mm256_mullo_epi16(wide, _mm256_set1_epi16(static_cast<short>(weight)));
  return {_mm256_add_epi16(acc.v, product)};
}
static inline void store(uint16_t* p, Sum16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
}
static inline __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
// Eight pixels of four bytes as three bytes each.
static inline void store_three_of_four(uint8_t* out, __m256i pixels) {
  // Twelve bytes in each half, brought together: 24 bytes as one store of 16 and one of 8.
  const __m256i packed = _mm256_shuffle_epi8(
      pixels,
      _mm256_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1, 0, 1, 2, 4, 5, 6, 8,
                       9, 10, 12, 13, 14, -1, -1, -1, -1));
  const __m256i joined =
      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm256_castsi256_si128(joined));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 16), _mm256_extracti128_si256(joined, 1));
}

struct Spots { S8 x, y, across, down; };
