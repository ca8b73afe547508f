// All kernels for one instruction set: compiled once per set, each into its own namespace.
#include "activate.h"
#include "adam.h"
#include "decode_backward.h"
#include "field_backward.h"
#include "frame.h"
#include "frustum.h"
#include "hexplane_backward.h"
#include "kernels.h"
#include "moment.h"
#include "photometric.h"
#include "pixels.h"
#include "signs.h"
#include "surprise.h"
#include "walk.h"

#define SPLAT_TEXT_(x) #x
#define SPLAT_TEXT(x) SPLAT_TEXT_(x)
#define SPLAT_JOIN_(a, b) a##b
#define SPLAT_JOIN(a, b) SPLAT_JOIN_(a, b)

// A kernel that the table lacks is an error here, and so is one in another's place.
#if defined(__GNUC__)
#pragma GCC diagnostic error "-Wmissing-field-initializers"
#endif

namespace splat {

extern const Table SPLAT_JOIN(table_, SPLAT_ISA);
const Table SPLAT_JOIN(table_, SPLAT_ISA) = {
    .name = SPLAT_TEXT(SPLAT_ISA),
    .lanes = SPLAT_ISA::W,
    .frame_new = [] { return static_cast<void*>(new SPLAT_ISA::Frame); },
    .frame_delete = [](void* frame) { delete static_cast<SPLAT_ISA::Frame*>(frame); },
    .frame_bytes = [](const void* frame) { return static_cast<const SPLAT_ISA::Frame*>(frame)->bytes(); },
    .forward = [](void* frame, const Forward& f) { static_cast<SPLAT_ISA::Frame*>(frame)->forward(f); },
    .backward = [](void* frame, const Backward& b) { static_cast<SPLAT_ISA::Frame*>(frame)->backward(b); },
    .survey = [](void* frame, const Survey& s) { static_cast<SPLAT_ISA::Frame*>(frame)->survey(s); },
    .photometric = SPLAT_ISA::photometric,
    .adam = SPLAT_ISA::adam,
    .adam_aside = SPLAT_ISA::adam_aside,
    .activate = SPLAT_ISA::activate,
    .activate_backward = SPLAT_ISA::activate_backward,
    .moment = SPLAT_ISA::moment,
    .moment_backward = SPLAT_ISA::moment_backward,
    .surprises = SPLAT_ISA::surprises,
    .surprises_backward = SPLAT_ISA::surprises_backward,
    .signs = SPLAT_ISA::signs,
    .signs_backward = SPLAT_ISA::signs_backward,
    .tone = SPLAT_ISA::tone,
    .tone_backward = SPLAT_ISA::tone_backward,
    .errors = SPLAT_ISA::errors,
    .walk = SPLAT_ISA::walk,
    .add = SPLAT_ISA::add,
    .decoding_new = [] { return static_cast<void*>(new SPLAT_ISA::Decoding); },
    .decoding_delete = [](void* decoding) { delete static_cast<SPLAT_ISA::Decoding*>(decoding); },
    .decoding_bytes = [](const void* decoding) { return static_cast<const SPLAT_ISA::Decoding*>(decoding)->bytes(); },
    .decode_count = [](void* decoding, const Anchors& a) { return static_cast<SPLAT_ISA::Decoding*>(decoding)->count(a); },
    .decode = [](void* decoding, const DecodedRows& rows) { static_cast<SPLAT_ISA::Decoding*>(decoding)->write(rows); },
    .decode_backward =
        [](void* decoding, const DecodedGradients& g) { static_cast<SPLAT_ISA::Decoding*>(decoding)->backward(g); },
    .in_frustum = SPLAT_ISA::in_frustum,
    .frustum_rows = SPLAT_ISA::frustum_rows,
    .field_new = [] { return static_cast<void*>(new SPLAT_ISA::Field); },
    .field_delete = [](void* field) { delete static_cast<SPLAT_ISA::Field*>(field); },
    .field_bytes = [](const void* field) { return static_cast<const SPLAT_ISA::Field*>(field)->bytes(); },
    .field = [](void* field, const FieldPoints& points) { static_cast<SPLAT_ISA::Field*>(field)->forward(points); },
    .field_backward = [](void* field, const FieldGradients& g) { static_cast<SPLAT_ISA::Field*>(field)->backward(g); },
    .hexplane_new = [] { return static_cast<void*>(new SPLAT_ISA::HexPlane); },
    .hexplane_delete = [](void* hexplane) { delete static_cast<SPLAT_ISA::HexPlane*>(hexplane); },
    .hexplane_bytes = [](const void* hexplane) { return static_cast<const SPLAT_ISA::HexPlane*>(hexplane)->bytes(); },
    .hexplane = [](void* hexplane, const HexPoints& p) { static_cast<SPLAT_ISA::HexPlane*>(hexplane)->forward(p); },
    .hexplane_backward =
        [](void* hexplane, const HexGradients& g) { static_cast<SPLAT_ISA::HexPlane*>(hexplane)->backward(g); },
};

}  // namespace splat
