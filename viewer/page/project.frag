#version 300 es
// Projects every Gaussian once a picture; a pixel of this pass is a Gaussian. The corners of its
// quad then read the result, instead of each evaluating the harmonics again.
precision highp float;
precision highp int;
precision highp usampler2D;
precision highp usampler2DArray;

uniform usampler2D shapes;  // position as the bits of floats, rotation
uniform usampler2D paints;  // scales and opacity, colour; a byte each
uniform usampler2DArray harmonics;
uniform usampler2D motions;  // time and one over the duration as floats, velocity as half floats
uniform bool moving;
uniform float moment;
uniform int count, degree;
uniform bool antialiased;
uniform float near;
uniform vec3 right, down, forward, eye;  // the camera in the world
uniform vec2 focal, middle, size;        // pixels

layout(location = 0) out uvec4 outline;  // position on screen, first column of the shape
layout(location = 1) out uvec4 paint;    // rest of the shape, colour and opacity as half floats

const float LOW_PASS = 0.3;  // pixels squared, added to the projected covariance
const float BORDER = 0.15;   // of the picture's size: the Jacobian is taken no farther outside

vec4 bytes_of(uint word) {
  return vec4(uvec4(word, word >> 8, word >> 16, word >> 24) & 255u);
}

// A quaternion whose largest component is left out, in the order x, y, z, w.
mat3 rotation_of(uint word) {
  float part[3];
  float squares = 0.0;
  for (int k = 0; k < 3; ++k) {
    uint bits = word >> uint(20 - 10 * k);
    float magnitude = float(bits & 511u) * (inversesqrt(2.0) / 511.0);
    part[k] = (bits & 512u) == 0u ? magnitude : -magnitude;
    squares += magnitude * magnitude;
  }
  float most = sqrt(max(0.0, 1.0 - squares));
  uint left_out = word >> 30;
  vec4 q = left_out == 0u ? vec4(most, part[0], part[1], part[2])
         : left_out == 1u ? vec4(part[0], most, part[1], part[2])
         : left_out == 2u ? vec4(part[0], part[1], most, part[2])
                          : vec4(part[0], part[1], part[2], most);
  vec3 v = q.xyz, d = 2.0 * v * v, w = 2.0 * q.w * v;
  float xy = 2.0 * v.x * v.y, xz = 2.0 * v.x * v.z, yz = 2.0 * v.y * v.z;
  return mat3(1.0 - d.y - d.z, xy + w.z, xz - w.y, xy - w.z, 1.0 - d.x - d.z, yz + w.x,
              xz + w.y, yz - w.x, 1.0 - d.x - d.y);
}

// The harmonics beyond the constant one, of the unit direction from the camera.
vec3 view_dependent(ivec2 at, vec3 d) {
  float c[48];
  for (int i = 0; i < 3; ++i) {
    if (i * 16 >= 3 * ((degree + 1) * (degree + 1) - 1)) break;
    uvec4 words = texelFetch(harmonics, ivec3(at, i), 0);
    for (int j = 0; j < 4; ++j) {
      vec4 bytes = bytes_of(words[j]) / 128.0 - 1.0;
      for (int k = 0; k < 4; ++k) c[16 * i + 4 * j + k] = bytes[k];
    }
  }
#define SH(k) vec3(c[3 * k - 3], c[3 * k - 2], c[3 * k - 1])
  float x = d.x, y = d.y, z = d.z;
  vec3 sum = 0.48860251190291987 * (z * SH(2) - y * SH(1) - x * SH(3));
  if (degree < 2) return sum;
  float xx = x * x, yy = y * y, zz = z * z, xy = x * y;
  sum += 1.0925484305920792 * (xy * SH(4) - y * z * SH(5) - x * z * SH(7));
  sum += (0.94617469575755997 * zz - 0.31539156525251999) * SH(6);
  sum += 0.54627421529603959 * (xx - yy) * SH(8);
  if (degree < 3) return sum;
  sum -= 0.59004358992664352 * (y * (3.0 * xx - yy) * SH(9) + x * (xx - 3.0 * yy) * SH(15));
  sum -= 0.45704579946446572 * (5.0 * zz - 1.0) * (y * SH(11) + x * SH(13));
  sum += 0.3731763325901154 * z * (5.0 * zz - 3.0) * SH(12);
  sum += 1.4453057213202769 * z * (2.0 * xy * SH(10) + (xx - yy) * SH(14));
  return sum;
}

void main() {
  outline = paint = uvec4(0);  // opacity 0: not drawn
  ivec2 at = ivec2(gl_FragCoord.xy);
  if (at.y * textureSize(shapes, 0).x + at.x >= count) return;
  uvec4 shape = texelFetch(shapes, at, 0);
  vec3 away = uintBitsToFloat(shape.xyz) - eye;
  float there = 1.0;  // share of its opacity that a Gaussian has at the moment
  if (moving) {
    uvec4 motion = texelFetch(motions, at, 0);
    float rate = uintBitsToFloat(motion.y);  // 0: always there, standing still
    float apart = rate == 0.0 ? 0.0 : moment - uintBitsToFloat(motion.x);
    away += apart * vec3(unpackHalf2x16(motion.z), unpackHalf2x16(motion.w).x);
    there = exp(-0.5 * apart * apart * rate * rate);
  }
  vec3 p = vec3(dot(right, away), dot(down, away), dot(forward, away));
  if (!(p.z >= near)) return;

  uvec2 coded = texelFetch(paints, at, 0).xy;
  vec4 bytes = bytes_of(coded.x);
  vec3 sigma = exp(bytes.xyz / 16.0 - 10.0);
  float opacity = there * bytes.w / 255.0;

  // Rows of the 2x3 Jacobian times the camera's rotation times the Gaussian's, times its scales.
  vec2 border = BORDER * size / focal;
  vec2 slope = p.xy / p.z;
  // From close by, what lies beyond is a veil over the whole picture.
  if (any(lessThan(slope, -middle / focal - border))) return;
  if (any(greaterThan(slope, (size - middle) / focal + border))) return;
  mat3 turned = rotation_of(shape.w);
  vec3 u = (focal.x / p.z) * (right - slope.x * forward) * turned * sigma;
  vec3 v = (focal.y / p.z) * (down - slope.y * forward) * turned * sigma;
  float a = dot(u, u), b = dot(u, v), c = dot(v, v);
  // Lagrange's identity: a c - b b, without the cancellation that needles would suffer from.
  vec3 normal = cross(u, v);
  float before = dot(normal, normal);
  float after = before + LOW_PASS * (a + c + LOW_PASS);
  if (antialiased) opacity *= sqrt(before / after);
  if (opacity < 1.0 / 255.0) return;
  a += LOW_PASS, c += LOW_PASS;

  vec2 centre = focal * p.xy / p.z + middle;
  float reach = min(3.33, sqrt(2.0 * log(255.0 * opacity)));
  vec2 extent = reach * sqrt(vec2(a, c));
  if (any(lessThan(centre + extent, vec2(0))) || any(greaterThan(centre - extent, size))) return;

  vec3 constant = (bytes_of(coded.y).xyz / 255.0 - 0.5) / 0.15;
  vec3 color = 0.5 + 0.28209479177387814 * constant;
  if (degree > 0) color += view_dependent(at, normalize(away));
  color = max(color, 0.0);
  float root = sqrt(a);
  outline = floatBitsToUint(vec4(centre, root, b / root));
  paint = uvec4(floatBitsToUint(sqrt(after / a)), packHalf2x16(color.rg),
                packHalf2x16(vec2(color.b, 0)), floatBitsToUint(opacity));
}
